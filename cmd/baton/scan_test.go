package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/daemon"
)

func TestPrintScan(t *testing.T) {
	var out strings.Builder
	err := printScan(&out, "eth0", time.Second, []daemon.Speaker{
		{VRID: 5, Family: "IPv4", Version: 3, Source: "192.0.2.2", Priority: 200, Interval: "1s", Authentication: "none", Addresses: []string{"192.0.2.1", "192.0.2.9"}},
		{VRID: 151, Family: "IPv6", Version: 3, Source: "fe80::1", Unicast: true, Priority: 90, Interval: "100ms", Authentication: "hmac"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `VRID  FAMILY  VERSION    MASTER     PRIORITY  EVERY  AUTHENTICATION  ADDRESSES
5     IPv4    3          192.0.2.2  200       1s     none            192.0.2.1 192.0.2.9
151   IPv6    3 unicast  fe80::1    90        100ms  hmac            none
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

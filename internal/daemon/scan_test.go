package daemon

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"baton/vrrp"
)

func TestScan(t *testing.T) {
	needNamespace(t)
	cable(t, "scan0", "scan1")
	addAddress(t, "scan0", "10.79.0.1/24")
	master, other := netip.MustParseAddr("10.79.0.2"), netip.MustParseAddr("10.79.0.3")
	w := newWire(t, "scan1")
	frames := [][]byte{
		advertisementFrame(master, 255, vrrp.Advertisement{VRID: 51, Version: 2, Priority: 150, Interval: time.Second, AuthType: 1, Auth: [8]byte{'s', 'e', 'c', 'r', 'e', 't'},
			Addresses: []netip.Addr{netip.MustParseAddr("10.79.0.100"), netip.MustParseAddr("10.79.0.101")}}),
		advertisementFrame(other, 255, vrrp.Advertisement{VRID: 9, Version: 3, Priority: 100, Interval: 100 * time.Millisecond}),
		advertisementFrame(other, 255, vrrp.Advertisement{VRID: 77, Version: 3, Priority: 1, Interval: time.Second, Addresses: []netip.Addr{master}})[:40], // cut
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			for _, f := range frames {
				_, _ = unix.Write(w.fd, f)
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	got, err := Scan(t.Context(), "scan0", time.Second)
	must(t, err)
	for i := range got {
		if got[i].Heard == 0 {
			t.Errorf("VRID %d was heard no time", got[i].VRID)
		}
		got[i].Heard = 0
	}
	want := []Speaker{
		{VRID: 9, Family: "IPv4", Version: 3, Source: "10.79.0.3", Priority: 100, Interval: "100ms", Authentication: "none", Addresses: []string{}},
		{VRID: 51, Family: "IPv4", Version: 2, Source: "10.79.0.2", Priority: 150, Interval: "1s", Authentication: "pass", Addresses: []string{"10.79.0.100", "10.79.0.101"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Scan(ended, "scan0", time.Hour); err != nil || len(got) != 0 {
		t.Errorf("after the end: %v, %v", got, err)
	}
	if _, err := Scan(t.Context(), "nowhere0", time.Second); err == nil || !strings.Contains(err.Error(), "nowhere0") {
		t.Errorf("no such interface: %v", err)
	}
	must(t, netlink.LinkSetDown(iface(t, "scan0")))
	if _, err := Scan(t.Context(), "scan0", time.Second); err == nil || !strings.Contains(err.Error(), "is down") {
		t.Errorf("down: %v", err)
	}
}

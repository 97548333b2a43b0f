package frame

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baton/internal/lab"
)

// The VRRP messages are vectors computed apart from any implementation.
const (
	ethernet4 = "01005e000012" + "020000010001" + "0800"
	ethernet6 = "333300000012" + "020000010001" + "86dd"
	ipv4      = "45c00020" + "00000000" + "ff70" + "CSUM" + "c000020a" + "e0000012"
	ipv6      = "60000000" + "0028" + "70ff" + "fe800000000000000000000000000010" + "ff020000000000000000000000000012"
	vips6     = "fe800000000000000000000000000100" + "20010db8000000000000000000000100"
)

func frameOf(t *testing.T, parts ...string) lab.Frame {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		t.Fatal(err)
	}
	return lab.Frame{Data: b}
}

func TestDecodeAdverts(t *testing.T) {
	header4 := strings.Replace(ipv4, "CSUM", headerSum(t, 0), 1)
	advert := Advert{Version: 3, VRID: 51, Priority: 200, Interval: time.Second, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.100")}}
	with := func(c Checksum) *Advert { a := advert; a.Checksum = c; return &a }
	two := &Advert{
		Version: 2, VRID: 51, Priority: 200, Interval: time.Second, Addresses: advert.Addresses, Checksum: Message,
		AuthType: 1, Password: "secret",
	}
	longer4 := strings.Replace(strings.Replace(ipv4, "45c00020", "45c00028", 1), "CSUM", headerSum(t, 8), 1)
	six := with(Pseudo)
	six.Addresses = []netip.Addr{netip.MustParseAddr("fe80::100"), netip.MustParseAddr("2001:db8::100")}
	for _, c := range []struct {
		name  string
		frame lab.Frame
		want  *Advert
	}{
		{"message sum", frameOf(t, ethernet4, header4, "3133c801", "0064", "4402", "c0000264"), with(Message)},
		{"pseudo header sum, padded", frameOf(t, ethernet4, header4, "3133c801", "0064", "a168", "c0000264", "0000000000000000"), with(Pseudo)},
		{"wrong sum", frameOf(t, ethernet4, header4, "3133c801", "0064", "a169", "c0000264"), with(Wrong)},
		{"version 2 with a password", frameOf(t, ethernet4, longer4, "2133c801", "0101", "1719", "c0000264", "7365637265740000"), two},
		{"ipv6", frameOf(t, ethernet6, ipv6, "3133c802", "0064", "d9ed", vips6), six},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Decode(c.frame)
			if diff := cmp.Diff(c.want, p.Advert, cmpopts.EquateComparable(netip.Addr{})); diff != "" || p.Malformed != "" {
				t.Errorf("%s\n%s", p.Malformed, diff)
			}
			if p.TTL != 255 {
				t.Errorf("ttl %d", p.TTL)
			}
		})
	}
	for _, broken := range []lab.Frame{
		frameOf(t, ethernet4, header4, "3133c802", "0064", "4402", "c0000264"),
		frameOf(t, ethernet4, strings.Replace(ipv4, "CSUM", "0000", 1), "3133c801", "0064", "4402", "c0000264"),
		frameOf(t, ethernet4, header4, "3133"),
	} {
		if p := Decode(broken); p.Malformed == "" || p.Advert != nil {
			t.Errorf("taken for good: %v", p)
		}
	}
}

// headerSum returns the checksum of the IPv4 header above, for a packet that is longer by some bytes.
func headerSum(t *testing.T, longer byte) string {
	b, err := hex.DecodeString(strings.Replace(ipv4, "CSUM", "0000", 1))
	if err != nil {
		t.Fatal(err)
	}
	b[3] += longer
	s := ^sum(b)
	return hex.EncodeToString([]byte{byte(s >> 8), byte(s)})
}

func TestAnnounces(t *testing.T) {
	const arp = "0806" + "0001080006040001" + "020000010001" + "0a630064" + "ffffffffffff"
	for _, c := range []struct {
		name, want string
		frame      lab.Frame
	}{
		{"gratuitous", "10.99.0.100", frameOf(t, "ffffffffffff", "020000010001", arp, "0a630064")},
		{"request", "invalid IP", frameOf(t, "ffffffffffff", "020000010001", arp, "0a630065")},
	} {
		if got := Decode(c.frame).Announces().String(); got != c.want {
			t.Errorf("%s announces %s, want %s", c.name, got, c.want)
		}
	}
}

package link

import "testing"

// Nothing that comes over a socket may bring the parsers down.
func FuzzParsers(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 16))
	f.Add(append(make([]byte, 16), 3, 0, 3, 0))                                   // an attribute shorter than its header
	f.Add(append(make([]byte, 16), 9, 0, 3, 0, 'e'))                              // one longer than the message
	f.Add(append(make([]byte, 16), 5, 0, 16, 0, 6, 0, 0, 0, 4, 0, 3, 0))          // operational state, then an empty name
	f.Add(append(make([]byte, 8), 8, 0, 1, 0, 10, 0, 0, 1, 7, 0, 2, 0, 10, 0, 0)) // an address, then half an address
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})    // a message longer than the read
	f.Add([]byte{16, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})               // a deletion of nothing
	f.Add(arpFrame(broadcast, macB, 1, "10.0.0.9", "10.0.0.9"))
	f.Add(naFrame(macB, 0x20, 255, "fe80::9", 2, 1, 2, 0, 0, 0, 0, 0xa))
	f.Add(packet4("224.0.0.18", 255, 10, advert(51)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, ok := parseLink(b); ok && i.Name == "" {
			t.Error("an interface without a name")
		}
		if _, a, ok := parseAddress(b); ok && !a.Prefix.IsValid() {
			t.Error("an invalid address")
		}
		(&Monitor{gone: make(map[int]bool)}).deletions(b)
		parseARP(b)
		parseNA(b)
		if p, ok := parse4(b); ok && (!p.Src.Is4() || !p.Dst.Is4()) {
			t.Error("an IPv4 packet without addresses")
		}
	})
}

package vrrp

// Refusal is the reason for which a packet is dropped. It is what a metric is
// labelled with and what a test asserts. A refused packet touches no timer
// and no role (RFC 9568 section 7.1).
type Refusal uint8

// The reasons.
const (
	Accepted        Refusal = iota
	RefusedTTL              // TTL or hop limit is not 255
	RefusedVersion          // version is not 3
	RefusedType             // not an advertisement
	RefusedLength           // shorter or longer than its address count says
	RefusedChecksum         // checksum fits in neither form
	RefusedVRID             // VRID is not configured on this link and family
	RefusedCount            // no virtual address
	RefusedInterval         // advertisement interval zero
	RefusedOwn              // source is our own address: a looped copy, or another host has it too
	refusals
)

// Refusals is the number of reasons, Accepted included.
const Refusals = int(refusals)

var refusalNames = [refusals]string{
	"accepted", "ttl", "version", "type", "length", "checksum", "vrid", "count", "interval", "own",
}

// String returns the reason as a metric's label.
func (r Refusal) String() string {
	if r < refusals {
		return refusalNames[r]
	}
	return "unknown"
}

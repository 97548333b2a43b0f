package vrrp

// Refusal is the reason for which a packet is dropped. It is what a metric is
// labelled with and what a test asserts. A refused packet touches no timer
// and no role (RFC 9568 section 7.1).
type Refusal uint8

// The reasons.
const (
	Accepted           Refusal = iota
	RefusedTTL                 // TTL or hop limit is not 255, or of a peer not in the configured range
	RefusedVersion             // version is not the router's, or neither 2 nor 3
	RefusedType                // not an advertisement
	RefusedLength              // shorter or longer than its address count says
	RefusedChecksum            // checksum fits in neither form
	RefusedVRID                // VRID is not configured on this link and family
	RefusedCount               // no virtual address
	RefusedInterval            // advertisement interval zero
	RefusedOwn                 // source is our own address: a looped copy, or another host has it too
	RefusedDestination         // to the group, and the router has peers; or to a host, and it has none
	RefusedPeer                // source is none of the router's peers
	RefusedAuthType            // version 2: another kind of authentication
	RefusedPassword            // version 2: another password
	RefusedMismatch            // version 2: another advertisement interval
	RefusedSigned              // signed, and the router has no keys
	RefusedUnsigned            // not signed, and the router enforces it
	RefusedTrailer             // signed in a way that is not known
	RefusedKey                 // signed with a key whose number is not known
	RefusedStale               // signed at a time that is too far from our clock
	RefusedSignature           // the signature is wrong
	RefusedReplay              // the signature is right, and was used before
	refusals
)

// Refusals is the number of reasons, Accepted included.
const Refusals = int(refusals)

var refusalNames = [refusals]string{
	"accepted", "ttl", "version", "type", "length", "checksum", "vrid", "count", "interval", "own",
	"destination", "peer", "authentication", "password", "interval mismatch",
	"signed", "unsigned", "trailer", "key", "stale", "signature", "replay",
}

// String returns the reason as a metric's label.
func (r Refusal) String() string {
	if r < refusals {
		return refusalNames[r]
	}
	return "unknown"
}

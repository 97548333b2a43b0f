package vrrp

import "time"

// HMAC is how advertisements are signed and verified: the trailer of
// draft-cassen-vrrp-auth-hmac, HMAC-SHA256 cut to 128 bits, as keepalived 2.4.1
// and later speak it.
type HMAC struct {
	// Keys are the secrets by their number, 1 to 255; each has 32 to 64 bytes.
	// What is signed with any of them is accepted.
	Keys map[uint8][]byte
	// Send is the number of the key that signs; in mode HMACReceiveOnly it is
	// not used.
	Send uint8
	Mode HMACMode
	// Window is how far the sender's wall clock may differ from ours, 1 s to
	// 300 s; 0: clocks are not compared, and only the order of a sender's
	// advertisements counts.
	Window time.Duration
}

// HMACMode says what is signed and what must be.
type HMACMode uint8

// The modes, in the order in which a running pair goes through them.
const (
	HMACEnforce     HMACMode = iota // signs, and refuses what is not signed
	HMACPermissive                  // signs, and accepts what is not signed
	HMACReceiveOnly                 // does not sign, and accepts what is not signed
)

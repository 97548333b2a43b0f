// Package vrrp is the protocol of RFC 9568, version 2 of RFC 3768, and what
// baton adds to both: the advertisement on the wire, the state machine of one
// virtual router, and a [Set] of many routers with one deadline. A [Survey]
// tells who else speaks on a link.
//
// The package is pure. It opens no socket, starts no goroutine and reads no
// clock: every call is handed the current time, and whatever it decides comes
// back as a list of [Action] values that the caller carries out and a test
// can compare. [Set.Deadline] says when to call [Set.Expire].
//
// Times are readings of one monotonic clock that goes on while the host
// sleeps (CLOCK_BOOTTIME), as a time.Duration since an arbitrary start.
// Wall clock time must not be passed in: a step of it would be a false
// takeover. The one place for it is the signature of an advertisement, whose
// age can be judged by nothing else.
//
// The package follows the words of RFC 9568 with one exception: the role that
// the RFC calls Active is called MASTER here, as operators, notify scripts
// and keepalived call it.
package vrrp

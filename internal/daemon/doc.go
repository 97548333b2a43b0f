// Package daemon puts baton together: it owns every goroutine, carries what
// one part decides to the part that does it, and ends all of them in order.
//
// One goroutine, the protocol loop, owns the virtual routers. Nothing on it
// may wait: not for a file, a lock held across work, netlink, a hook or a
// log reader. Everything else runs beside it and posts to it.
//
// The package holds no protocol (that is vrrp), no opinion on health (health)
// and no configuration language (internal/config).
package daemon

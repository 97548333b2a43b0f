// Package link is baton's hold on the network interfaces: the raw sockets that
// carry VRRP, and the state of interfaces and addresses as the kernel reports it.
//
// A Conn owns the sockets of one interface and one family. It belongs to a
// single protocol loop: none of its methods may be called from two goroutines at
// once, none of them blocks, and in steady state none of them allocates. A
// Poller is what that loop sleeps in. A Monitor follows interfaces and addresses
// from a goroutine of its own and publishes immutable Tables.
//
// The package knows no VRRP beyond what the kernel filter needs (version, type
// and VRID in the first two bytes). It must not judge a message, hold a timer of
// the protocol, change an interface, an address or a route, or import another
// part of baton.
//
// Several hosts may speak from one virtual router MAC address, and this one may
// have it on a macvlan as well. In bridge mode, and in any mode while the macvlan
// is down, the sockets on the parent interface hear the adverts and announcements
// that a peer sends from that very address, and nothing that the own macvlan or
// SendFrom send. In private mode a macvlan that is up takes the peer's frames away
// from the parent: two nodes would not hear each other.
//
// It needs Linux 5.1 or newer and the capability CAP_NET_RAW; with CAP_NET_ADMIN
// its buffers may grow beyond what net.core.rmem_max allows everybody.
package link

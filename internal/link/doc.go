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
// It needs Linux 5.1 or newer and the capability CAP_NET_RAW; with CAP_NET_ADMIN
// its buffers may grow beyond what net.core.rmem_max allows everybody.
package link

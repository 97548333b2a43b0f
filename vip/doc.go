// Package vip puts virtual addresses on this host's interfaces, announces them
// by gratuitous ARP and unsolicited Neighbor Advertisement, keeps them there
// against others who remove them, and takes them off again. Where they have a
// virtual MAC address, it makes the macvlan that they are on; where packets to
// them are to be refused, the nftables table that does so.
//
// One [Worker] serves all virtual routers of the process. It is told wishes,
// not steps: the newest wish of a router replaces the one before, whatever the
// worker has done of it, so that a flap costs one operation. What it could not
// do comes back as an [Event].
//
// The decisions (table.go, plan.go, announce.go) take the time as an argument
// and return work as values; worker.go and netlink.go carry it out. Times are
// readings of CLOCK_BOOTTIME.
//
// Routes and rules of policy routing follow the addresses (follow.go). They are
// this program's by their protocol, 112. With the first router that has some, what
// has that protocol in the tables that they name, and belongs to no router, is
// removed once: a configuration before this one has left it.
//
// The package must not know the VRRP protocol: who is master, and why, is
// decided elsewhere. It must not read the wall clock, nor touch an address
// that is not in a [Router], nor a route or rule of another protocol.
package vip

// Package runner lets a process that is root run what a daemon that is not root
// may not: the commands of its hooks and services, and checks of other users. It
// starts and stops units and containers for it as well.
//
// Both ends trust nothing that the kernel does not say. The server takes requests
// from the daemon's user and from root alone, and does only what stands in the
// configuration, which it reads by itself and which must be root's alone: nothing
// in a request chooses a program. The client takes answers from root alone.
//
// Each request has a connection of its own, so that none waits for another, and
// the end of a connection is the end of one request. A client that dies ends
// nothing: what it had started runs to its own time limit.
//
// The package must not decide what is to run and when, and must not know of roles.
package runner

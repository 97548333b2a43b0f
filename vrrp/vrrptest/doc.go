// Package vrrptest is a simulated LAN on which nodes, each a real
// [vrrp.Set], advertise to one another in virtual time, and a reader of
// scenario files that drive it ([Run]).
//
// A LAN is one or more links on which all nodes are. It can delay, lose, duplicate and reorder packets, be cut in two or in
// one direction, on all links or one, and its nodes can have clocks that drift, and stand still.
// All chance comes from one seed: the same calls give the same history.
//
// The package must not wait, read a clock or open a socket.
package vrrptest

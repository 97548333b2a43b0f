// Package demo shows baton's main job on one machine: two nodes, a real
// HAProxy on each, a client that asks the virtual address each millisecond,
// and five things that happen to them. It is what `baton demo` runs.
//
// It judges what it shows: when the address is not where it should be at the
// end of a step, the demo fails.
package demo

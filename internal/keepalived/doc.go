// Package keepalived turns the VRRP half of a keepalived.conf into a baton.yaml. It
// has three steps: Read gives the blocks that keepalived's own parser would see,
// Convert makes a Document of the blocks of one node, and Merge makes one of the
// Documents of several. Each word of the input is accounted for in the Report.
//
// It runs nothing that a file names, asks nothing of this host but the files, and
// keeps no state. Any input ends in a Document or an error, in bounded memory and time.
package keepalived

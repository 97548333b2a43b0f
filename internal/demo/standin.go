package demo

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
)

// StandIn does what the demo needs of HAProxy where that is not installed: it
// answers `show info` on the stats socket and requests on the address. It
// returns only when it cannot go on.
func StandIn(socket, address string) error {
	web, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("stand in for HAProxy: %w", err)
	}
	_ = os.Remove(socket) // left by one that was killed
	stats, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("stand in for HAProxy: %w", err)
	}
	failed := make(chan error, 2)
	go func() {
		failed <- http.Serve(web, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "well") }))
	}()
	go func() { failed <- serveStats(stats) }()
	return <-failed
}

// serveStats answers each line on the socket as HAProxy answers `show info`.
func serveStats(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return fmt.Errorf("stand in for HAProxy: %w", err)
		}
		go func() {
			defer c.Close()
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				fmt.Fprintf(c, "Name: stand-in\nPid: %d\nStopping: 0\n\n", os.Getpid())
			}
		}()
	}
}

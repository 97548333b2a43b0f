package demo

import (
	"bufio"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The demo kills the stand-in, whose socket then stays, and starts it again.
func TestStandIn_StartsAgainWhereItWasKilled(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "stats.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- StandIn(socket, "127.0.0.1:0") }()
	var c net.Conn
	for limit := time.Now().Add(10 * time.Second); ; {
		if c, err = net.Dial("unix", socket); err == nil {
			break
		}
		select {
		case err := <-failed:
			t.Fatal(err)
		default:
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
	}
	defer c.Close()
	if _, err := c.Write([]byte("show info\n")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString(' ')
	if err != nil || !strings.HasPrefix(line, "Name:") {
		t.Errorf("answers %q, %v", line, err)
	}
}

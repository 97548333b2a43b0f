package daemon

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"baton/internal/config"
)

// A daemon that leaves asks for as much time as its services may take, and
// what is to be done after them.
func TestDaemon_AsksForTimeToStop(t *testing.T) {
	needNamespace(t)
	dir := t.TempDir()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	must(t, err)
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	file := filepath.Join(dir, "baton.yaml")
	must(t, os.WriteFile(file, []byte(`
virtual_routers:
  web:
    interface: nowhere
    vrid: 51
    addresses: [10.77.0.100/24]
    services:
      - {name: one, stop_timeout: 7m, command: {start: "true", stop: "true", status: "false"}}
      - {name: two, stop_timeout: 3m, command: {start: "true", stop: "true", status: "false"}}
`), 0o600))
	cfg, report := config.Load(file, config.Options{})
	if cfg == nil {
		var b strings.Builder
		_, _ = report.WriteTo(&b)
		t.Fatal(b.String())
	}
	d, err := newDaemon(cfg, t.TempDir(), t.TempDir(), nil, slog.New(slog.DiscardHandler))
	must(t, err)
	signals := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- d.run(signals) }()
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	must(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
	buffer := make([]byte, 256)
	for {
		n, err := socket.Read(buffer)
		if err != nil {
			t.Fatal("the service manager was not asked: ", err)
		}
		if value, found := strings.CutPrefix(string(buffer[:n]), "EXTEND_TIMEOUT_USEC="); found {
			us, err := strconv.Atoi(value)
			must(t, err)
			if asked := time.Duration(us) * time.Microsecond; asked < 10*time.Minute+hooksLimit || asked > 13*time.Minute {
				t.Errorf("asked for %s", asked)
			}
			return
		}
	}
}

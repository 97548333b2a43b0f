package daemon

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// syncLimit is how long a reboot waits for what is in memory to reach the disk:
// a disk that hangs is a reason to reboot, not one to wait.
const syncLimit = 5 * time.Second

// rebootLimit bounds the wait for the runner's word that it could not.
const rebootLimit = 2 * syncLimit

// reboot reboots this host, or has the runner do so.
func (h *host) reboot() error {
	if h.remote == nil {
		return reboot()
	}
	ctx, cancel := context.WithTimeout(context.Background(), rebootLimit)
	defer cancel()
	return h.remote.Reboot(ctx)
}

// reboot reboots this host, without asking the service manager: what does not
// stop would keep that from it, too. It returns only where it could not.
func reboot() error {
	synced := make(chan struct{})
	go func() { unix.Sync(); close(synced) }()
	select {
	case <-synced:
	case <-time.After(syncLimit):
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

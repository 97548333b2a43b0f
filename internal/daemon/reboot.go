package daemon

import (
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

// syncLimit is how long a reboot waits for what is in memory to reach the disk:
// a disk that hangs is a reason to reboot, not one to wait.
const syncLimit = 5 * time.Second

// reboot reboots this host, without asking the service manager: what does not
// stop would keep that from it, too. It returns only where it could not.
func reboot(log *slog.Logger) {
	synced := make(chan struct{})
	go func() { unix.Sync(); close(synced) }()
	select {
	case <-synced:
	case <-time.After(syncLimit):
	}
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	log.Error("this host could not be rebooted", "err", err)
}

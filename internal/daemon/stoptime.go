package daemon

import (
	"context"
	"fmt"
	"time"
)

// endLimit is how long the end of a daemon may take when its loop has ended:
// the hooks and webhooks, the other parts, the log.
const endLimit = hooksLimit + 2*closeLimit

// askForTime tells the service manager that the loop may take so long to leave.
// The longest is known at once, so one message does: the limit of the unit
// (TimeoutStopSec=) counts where it is longer. The loop does not wait for it.
func (d *daemon) askForTime(loop time.Duration) {
	d.aside("request for time to stop", func(context.Context) error {
		d.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (loop + endLimit).Microseconds()))
		return nil
	})
}

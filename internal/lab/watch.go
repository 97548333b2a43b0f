package lab

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// AddressChange is an address that appeared on a host or went from it.
type AddressChange struct {
	At        time.Time // when the kernel's message was read
	Host      string
	Interface int // index
	Prefix    netip.Prefix
	Present   bool
}

// WatchAddresses calls f for each address that is there now, and then for each change, one at a time, until the
// laboratory is closed. Renewals of an address are not reported. Losing a message of the kernel calls failed, from
// then on nothing is known.
func (h *Host) WatchAddresses(f func(AddressChange), failed func(error)) error {
	ns := netns.NsHandle(h.space.net.Fd())
	updates := make(chan netlink.AddrUpdate, 1024)
	stop := make(chan struct{})
	err := netlink.AddrSubscribeWithOptions(updates, stop, netlink.AddrSubscribeOptions{
		Namespace: &ns, ListExisting: true, ReceiveBufferSize: 8 << 20,
		// To go beyond the machine's limit is not for the root of a user namespace.
		ReceiveBufferForceSize: os.Getenv(entered) == "",
		ErrorCallback: func(err error) {
			select {
			case <-stop: // the closed socket is the end, not a loss
			default:
				failed(fmt.Errorf("host %s: watch addresses: %w", h.Name, err))
			}
		},
	})
	if err != nil {
		return fmt.Errorf("host %s: watch addresses: %w", h.Name, err)
	}
	var once sync.Once
	h.lab.onClose(func() { once.Do(func() { close(stop) }) })
	go func() {
		type key struct {
			index  int
			prefix netip.Prefix
		}
		present := make(map[key]bool)
		for u := range updates {
			c := AddressChange{
				At: time.Now(), Host: h.Name, Interface: u.LinkIndex,
				Prefix: prefixOf(&u.LinkAddress), Present: u.NewAddr,
			}
			k := key{c.Interface, c.Prefix}
			if present[k] == c.Present {
				continue
			}
			present[k] = c.Present
			f(c)
		}
	}()
	return nil
}

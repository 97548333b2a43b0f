package vip

import "golang.org/x/sys/unix"

// addAnnounce registers what a router's announcements need beside the interface
// of its addresses.
func (t *table) addAnnounce(f *iface, p Announce) {
	f.queue.least = max(f.queue.least, p.Gap)
	for _, name := range p.AlsoOn {
		t.interfaceNamed(name)
	}
}

// also sends an announcement on the further interfaces that its router names.
// What cannot be sent there is not worth a word: the address is where it is.
func (w *Worker) also(a *address, frame []byte) {
	for _, name := range a.router.Announce.AlsoOn {
		if f := w.table.ifaces[name]; f.link.up && f.link.ethernet && f != a.iface {
			_ = unix.Sendto(w.packet, frame, 0, &unix.SockaddrLinklayer{Ifindex: f.link.index})
		}
	}
}

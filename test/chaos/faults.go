package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/site"
)

// fault is something that happens to a node, and is over when do returns. Detail says how it was.
type fault struct {
	name  string
	baton bool // not for a keepalived
	plain bool // not where the interface below is changed by a virtual MAC
	do    func(w *world, n *site.Node, choice *rand.Rand) (detail string, err error)
}

var faults = []fault{
	{name: "cut", do: func(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
		return during(choice, 2*time.Second, n.Port.Cut, n.Port.Mend)
	}},
	{name: "cut one way", do: func(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
		way := []lab.Direction{lab.FromHost, lab.ToHost}[choice.IntN(2)]
		detail, err := during(choice, 2*time.Second, func() error { return n.Port.Lose(way, 1) }, func() error { return n.Port.Lose(way, 0) })
		return way.String() + " " + detail, err
	}},
	{name: "lossy", do: func(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
		share := choice.Float64() * 0.6
		detail, err := during(choice, 3*time.Second,
			func() error { return n.Port.Lose(lab.FromHost, share) }, func() error { return n.Port.Lose(lab.FromHost, 0) })
		return fmt.Sprintf("%.0f%% %s", share*100, detail), err
	}},
	{name: "no carrier", do: func(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
		return during(choice, 2*time.Second, n.Port.Down, n.Port.Up)
	}},
	{name: "flap", do: flap},
	{name: "freeze", do: func(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
		return during(choice, 3*time.Second,
			func() error { return n.Process.SignalGroup(unix.SIGSTOP) }, func() error { return n.Process.SignalGroup(unix.SIGCONT) })
	}},
	{name: "kill", do: kill},
	{name: "kill, back late", baton: true, do: killForLong},
	{name: "stop", do: func(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
		return during(choice, time.Second, n.Stop, n.Start)
	}},
	{name: "address deleted", baton: true, plain: true, do: deleteAddress},
	{name: "own address", baton: true, plain: true, do: ownAddress},
	{name: "MTU", do: changeMTU},
	{name: "interface gone", baton: true, plain: true, do: recreate},
	{name: "reload storm", baton: true, do: reloadStorm},
	{name: "check flaps", do: checkFlaps},
	{name: "disk full", baton: true, do: fullDisk},
	{name: "no descriptors", baton: true, do: noDescriptors},
	{name: "netlink overrun", baton: true, do: overrun},
}

// during does what breaks, waits for a time up to the longest, and mends it.
func during(choice *rand.Rand, longest time.Duration, breaks, mends func() error) (string, error) {
	d := time.Duration(choice.Int64N(int64(longest)))
	if err := breaks(); err != nil {
		return "", err
	}
	time.Sleep(d)
	return fmt.Sprintf("for %v", round(d)), mends()
}

func flap(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
	times := 2 + choice.IntN(8)
	for range times {
		if err := n.Port.Down(); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(choice.Int64N(int64(interval))))
		if err := n.Port.Up(); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(choice.Int64N(int64(interval))))
	}
	return fmt.Sprintf("%d times", times), nil
}

// kill is a crash, and a service manager that starts the daemon again at once.
func kill(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	d := time.Duration(choice.Int64N(int64(50 * time.Millisecond)))
	if err := n.Crash(); err != nil {
		return "", err
	}
	time.Sleep(d)
	return fmt.Sprintf("back after %v", round(d)), n.Start()
}

// killForLong is a crash of which a service manager cleans up as OnFailure= does, and a start much later.
func killForLong(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	d := time.Duration(choice.Int64N(int64(3 * time.Second)))
	if err := n.Crash(); err != nil {
		return "", err
	}
	if _, err := n.Host.Run(command, n.Binary(), "release", "--runtime-dir", filepath.Join(n.Dir, "run")); err != nil {
		return "", err
	}
	time.Sleep(d)
	return fmt.Sprintf("back after %v", round(d)), n.Start()
}

// deleteAddress takes a virtual address off, where it is or not.
func deleteAddress(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	a := w.addresses[choice.IntN(len(w.addresses))]
	held, err := n.Host.Addresses(site.Interface)
	if err != nil {
		return "", err
	}
	for _, p := range held {
		if p.Addr() == a {
			return a.String(), n.Host.RemoveAddress(site.Interface, p)
		}
	}
	return "which it does not have", nil
}

// ownAddress takes the host's own address off for a time, and puts it back.
func ownAddress(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	p, err := w.own(n)
	if err != nil {
		return "", err
	}
	return during(choice, time.Second,
		func() error { return n.Host.RemoveAddress(site.Interface, p) }, func() error { return n.Host.AddAddress(site.Interface, p) })
}

func changeMTU(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
	set := func(mtu int) error {
		_, err := n.Host.Run(command, "ip", "link", "set", site.Interface, "mtu", fmt.Sprint(mtu))
		return err
	}
	mtu := 1280 + choice.IntN(220)
	detail, err := during(choice, time.Second, func() error { return set(mtu) }, func() error { return set(1500) })
	return fmt.Sprintf("%d %s", mtu, detail), err
}

// recreate takes the interface away and makes another one of its name.
func recreate(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	own, err := n.Host.Addresses(site.Interface)
	if err != nil {
		return "", err
	}
	var prefixes []string
	for _, p := range own {
		if !p.Addr().IsLinkLocalUnicast() && !w.isVirtual(p.Addr()) {
			prefixes = append(prefixes, p.String())
		}
	}
	return during(choice, time.Second, func() error {
		_, err := n.Host.Run(command, "ip", "link", "delete", site.Interface)
		return err
	}, func() (err error) {
		n.Port, err = w.site.Switch.Attach(n.Host, site.Interface, prefixes...)
		return err
	})
}

// reloadStorm gives the daemon one file after the other, some of which are broken, and the good one in the end.
func reloadStorm(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	file := filepath.Join(n.Dir, "baton.yaml")
	good, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	times := 2 + choice.IntN(10)
	for range times {
		text := good
		switch choice.IntN(3) {
		case 0:
			text = append(bytes.Clone(good), "nonsense: {\n"...)
		case 1:
			text = bytes.Replace(good, []byte("advertisement_interval: 100ms"), []byte("advertisement_interval: 90ms"), 1)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return "", err
		}
		if err := n.Process.Signal(unix.SIGHUP); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(choice.Int64N(int64(interval))))
	}
	if err := os.WriteFile(file, good, 0o644); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d times", times), n.Process.Signal(unix.SIGHUP)
}

func checkFlaps(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
	times := 1 + choice.IntN(3)
	for range times {
		if err := os.WriteFile(n.Host.Path(bad), nil, 0o644); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(choice.Int64N(int64(1500 * time.Millisecond))))
		if err := os.Remove(n.Host.Path(bad)); err != nil {
			return "", err
		}
		time.Sleep(time.Duration(choice.Int64N(int64(500 * time.Millisecond))))
	}
	return fmt.Sprintf("%d times", times), nil
}

// fullDisk fills the disk of the runtime directory, and lets something happen meanwhile.
func fullDisk(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	name := n.Host.Path(filepath.Join(n.Dir, "run", "full"))
	f, err := os.Create(name)
	if err != nil {
		return "", err
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		return "", errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	detail, err := during(choice, time.Second, n.Port.Down, n.Port.Up)
	if err != nil {
		return "", err
	}
	if choice.IntN(2) == 0 {
		detail += ", killed"
		if _, err := kill(w, n, choice); err != nil {
			return "", err
		}
		time.Sleep(interval)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return "link down " + detail, nil
}

// noDescriptors takes from the daemon the right to open anything more, and lets something happen meanwhile.
func noDescriptors(_ *world, n *site.Node, choice *rand.Rand) (string, error) {
	var was unix.Rlimit
	if err := unix.Prlimit(n.Process.PID, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		return "", err
	}
	const needed = 8 // poll itself refuses more descriptors than the limit
	none := unix.Rlimit{Cur: needed, Max: was.Max}
	if err := unix.Prlimit(n.Process.PID, unix.RLIMIT_NOFILE, &none, nil); err != nil {
		return "", err
	}
	detail, err := during(choice, 2*time.Second, n.Port.Down, n.Port.Up)
	return "link down " + detail, errors.Join(err, unix.Prlimit(n.Process.PID, unix.RLIMIT_NOFILE, &was, nil))
}

// overrun lets more of the kernel's messages come than the daemon's buffers hold, while it stands still.
func overrun(w *world, n *site.Node, choice *rand.Rand) (string, error) {
	var batch strings.Builder
	const addresses = 15000
	for i := range addresses {
		a := fmt.Sprintf("10.200.%d.%d/32", i/250, 1+i%250)
		fmt.Fprintf(&batch, "address add %s dev lo\naddress del %s dev lo\n", a, a)
	}
	file := n.Host.Path("/run/batch")
	if err := os.WriteFile(file, []byte(batch.String()), 0o644); err != nil {
		return "", err
	}
	if err := n.Process.Signal(unix.SIGSTOP); err != nil {
		return "", err
	}
	_, err := n.Host.Run(command, "ip", "-batch", "/run/batch")
	a := w.addresses[0]
	removed := false
	if held, listErr := n.Host.Addresses(site.Interface); listErr == nil && !w.virtual {
		for _, p := range held { // what it would not be told of
			if p.Addr() == a {
				removed = n.Host.RemoveAddress(site.Interface, p) == nil
			}
		}
	}
	return fmt.Sprintf("address removed: %t", removed), errors.Join(err, n.Process.Signal(unix.SIGCONT), os.Remove(file))
}

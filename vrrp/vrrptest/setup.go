package vrrptest

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"baton/vrrp"
)

// The commands that build the LAN of a scenario.

func (s *scenario) settings(args []string) error {
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		var err error
		switch key {
		case "seed":
			var seed uint64
			seed, err = strconv.ParseUint(value, 10, 64)
			s.lan.random = New(seed).random
		case "delay":
			s.lan.Delay, err = time.ParseDuration(value)
		case "jitter":
			s.lan.Jitter, err = time.ParseDuration(value)
		case "install":
			s.lan.Install, err = time.ParseDuration(value)
		case "loss":
			s.lan.Loss, err = strconv.ParseFloat(value, 64)
		case "duplicate":
			s.lan.Duplicate, err = strconv.ParseFloat(value, 64)
		case "show":
			s.all = value == "all"
		default:
			err = fmt.Errorf("no such setting")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	return nil
}

func (s *scenario) node(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a name")
	}
	var addrs []netip.Addr
	// Clocks begin at a whole number of every interval, so that what is
	// aligned in the node's time is so in the LAN's.
	ahead, drift := 1000*time.Second, int64(0)
	for _, a := range args[1:] {
		key, value, set := strings.Cut(a, "=")
		var err error
		switch {
		case !set:
			var addr netip.Addr
			addr, err = netip.ParseAddr(a)
			addrs = append(addrs, addr)
		case key == "clock":
			var d time.Duration
			d, err = time.ParseDuration(value)
			ahead += d
		case key == "drift":
			drift, err = strconv.ParseInt(value, 10, 64)
		default:
			err = fmt.Errorf("no such setting")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	s.lan.Node(args[0], addrs...).Clock(ahead, drift)
	return nil
}

func (s *scenario) router(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a VRID")
	}
	vrid, err := strconv.ParseUint(args[0], 10, 8)
	if err != nil {
		return err
	}
	common := vrrp.Config{VRID: uint8(vrid), Interval: time.Second, Preempt: true}
	type setting struct{ node, key, value string }
	var own []setting
	for _, a := range args[1:] {
		key, value, set := strings.Cut(a, "=")
		if !set {
			if err := configure(&common, "addresses", a); err != nil {
				return fmt.Errorf("%s: %w", a, err)
			}
			continue
		}
		if node, ownKey, dotted := strings.Cut(key, "."); dotted {
			own = append(own, setting{node, ownKey, value})
		} else if _, err := s.find(key); err == nil {
			own = append(own, setting{key, "priority", value})
		} else if err := configure(&common, key, value); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	for _, n := range s.lan.Nodes() {
		cfg, takesPart := common, false
		cleared := false
		for _, o := range own {
			if o.node != n.Name {
				continue
			}
			takesPart = true
			if o.key == "addresses" && !cleared {
				cfg.Addresses, cleared = nil, true
			}
			if err := configure(&cfg, o.key, o.value); err != nil {
				return fmt.Errorf("%s.%s=%s: %w", o.node, o.key, o.value, err)
			}
		}
		if !takesPart {
			continue
		}
		if _, err := n.Add(cfg); err != nil {
			return err
		}
	}
	return nil
}

func configure(c *vrrp.Config, key, value string) error {
	var err error
	priority := func(to *uint8) {
		var p uint64
		p, err = strconv.ParseUint(value, 10, 8)
		*to = uint8(p)
	}
	switch key {
	case "priority":
		priority(&c.Priority)
	case "best":
		priority(&c.BestRival)
	case "slowest":
		priority(&c.SlowestRival)
	case "interval":
		c.Interval, err = time.ParseDuration(value)
	case "link":
		c.Link, err = strconv.Atoi(value)
	case "group":
		c.Group, err = strconv.Atoi(value)
	case "missed":
		priority(&c.Missed)
	case "preempt_delay":
		c.PreemptDelay, err = time.ParseDuration(value)
	case "together":
		c.Together = value == "yes"
	case "preempt":
		c.Preempt = value != "no"
	case "checksum":
		if value == vrrp.MessageOnly.String() {
			c.Checksum = vrrp.MessageOnly
		}
	case "version":
		priority(&c.Version)
	case "password":
		c.Password = new([8]byte)
		copy(c.Password[:], value)
	case "hmac":
		c.HMAC, err = signatures(value)
	case "peers":
		c.Peers, err = parseAddrs(value)
	case "nodes":
		c.Nodes, err = parseAddrs(value)
	case "addresses":
		addrs, err := parseAddrs(value)
		if err != nil {
			return err
		}
		for _, addr := range addrs {
			c.Addresses = append(c.Addresses, addr)
			c.Family = vrrp.IPv6
			if addr.Is4() {
				c.Family = vrrp.IPv4
			}
		}
	default:
		err = fmt.Errorf("no such setting")
	}
	return err
}

func parseAddrs(list string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for _, a := range strings.Split(list, ",") {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// signatures are those of the mode, with the key that all have and a window of
// 5 s.
func signatures(mode string) (*vrrp.HMAC, error) {
	modes := map[string]vrrp.HMACMode{
		"enforce": vrrp.HMACEnforce, "permissive": vrrp.HMACPermissive, "receive-only": vrrp.HMACReceiveOnly,
	}
	m, ok := modes[mode]
	if !ok {
		return nil, fmt.Errorf("no such mode")
	}
	return &vrrp.HMAC{Keys: map[uint8][]byte{1: make([]byte, 32)}, Send: 1, Mode: m, Window: 5 * time.Second}, nil
}

// stranger begins or ends a host that advertises each interval and hears
// nobody.
func (s *scenario) stranger(name string, args []string) error {
	if name == "hush" && len(args) == 1 || name == "stranger" && len(args) >= 6 {
		src, err := netip.ParseAddr(args[0])
		if err != nil {
			return err
		}
		if silent := s.strangers[src]; silent != nil {
			*silent = true
		}
		if name == "hush" {
			return nil
		}
		p, every, err := strangerPacket(src, args[1:])
		if err != nil {
			return err
		}
		silent := new(bool)
		s.strangers[src] = silent
		var speak func()
		speak = func() {
			if !*silent {
				s.lan.Inject(p)
				s.lan.After(every, speak)
			}
		}
		speak()
		return nil
	}
	return fmt.Errorf("want an address, and for a stranger its version, VRID, priority, interval and virtual addresses")
}

func strangerPacket(src netip.Addr, args []string) (vrrp.Packet, time.Duration, error) {
	fail := func(err error) (vrrp.Packet, time.Duration, error) { return vrrp.Packet{}, 0, err }
	vrid, err := strconv.ParseUint(args[1], 10, 8)
	if err != nil {
		return fail(err)
	}
	priority, err := strconv.ParseUint(args[2], 10, 8)
	if err != nil {
		return fail(err)
	}
	every, err := time.ParseDuration(args[3])
	if err != nil {
		return fail(err)
	}
	a := vrrp.Advertisement{VRID: uint8(vrid), Priority: uint8(priority), Interval: every}
	for _, v := range args[4:] {
		addr, err := netip.ParseAddr(v)
		if err != nil {
			return fail(err)
		}
		a.Addresses = append(a.Addresses, addr)
	}
	dst := vrrp.IPv6.Group()
	if src.Is4() {
		dst = vrrp.IPv4.Group()
	}
	if args[0] == "2" {
		a.Version = 2
	}
	return vrrp.Packet{Src: src, Dst: dst, TTL: 255, Message: a.AppendTo(nil, src, dst)}, every, nil
}

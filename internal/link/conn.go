package link

import (
	"errors"
	"fmt"
	"log/slog"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Sizes of what a Conn reads and keeps.
const (
	// longestAdvert is the longest message there is: 255 IPv6 addresses, a
	// trailer for authentication, the longest IPv4 header.
	longestAdvert = 60 + 8 + 255*16 + 28

	// receiveBuffer is asked of the kernel for adverts. 4 MiB hold some ten
	// thousand of them: half a second of every router on an interface at 10 ms,
	// with the process stopped. The memory is used only while they wait.
	receiveBuffer = 4 << 20

	// surveyBuffer holds a few dozen packets, so that a flood is discarded by the
	// kernel for nothing.
	surveyBuffer = 32 << 10
	surveyBatch  = 8

	// announcementBuffer holds the announcements of some 255 addresses, which
	// come in one burst when another router takes them.
	announcementBuffer = 512 << 10
	longestFrame       = 128

	// sendBuffer holds an advert of each of 255 routers while the device is busy,
	// and beside them what waits for neighbours that do not answer: the kernel
	// keeps up to 208 KiB for each of those. The usual 208 KiB would be full.
	sendBuffer = 4 << 20
)

// What Watch adds to a Conn's tag to say which of its sockets is ready.
const (
	ReadyReceive       uint64 = iota // call Receive
	ReadySurvey                      // call Survey
	ReadyAnnouncements               // call Announcements
	ReadyTags                        // tags that one Conn takes
)

// Conn is the sockets of one interface and one family. It belongs to one
// goroutine at a time. A Conn stays good while its interface goes down and up, is
// renamed or changes its addresses; it is dead for good, and must be closed, once
// the interface is deleted (another Interface.Index or Interface.Generation). An
// MTU below 1280 ends IPv6 on an interface, and with it the membership: then, too,
// a new Conn is needed.
type Conn struct {
	name  string
	index int
	mac   MAC
	ipv6  bool
	known Known

	receive *reader // also sends
	survey  *reader
	frames  *reader // nil where the interface is no Ethernet
	virtual *framer // nil before EnableVirtualMAC
	poller  *Poller // nil before Watch
	out     sender
	rate    bucket

	refusals []error // *SendErrors for the next Flush to tell

	packets       []Packet
	refused       []Packet
	announcements []Announcement
	stats         Stats
}

// Open opens the sockets of interface i for one family and joins the VRRP group
// on it. The interface may be down. No virtual router is known at first: until SetKnown
// every advert is a matter for Survey. It takes about half a millisecond, and may
// be called anywhere: the Conn is handed to its loop afterwards.
func Open(i Interface, ipv6 bool, log *slog.Logger) (*Conn, error) {
	c := &Conn{
		name: i.Name, index: i.Index, ipv6: ipv6,
		rate:          bucket{tokens: surveyBurst},
		packets:       make([]Packet, 0, batch),
		refused:       make([]Packet, 0, surveyBatch),
		announcements: make([]Announcement, 0, batch),
	}
	copy(c.mac[:], i.MAC)
	if err := c.open(len(i.MAC) == len(c.mac), log); err != nil {
		c.Close()
		return nil, fmt.Errorf("open %s for VRRP over %s: %w", i.Name, family(ipv6), err)
	}
	return c, nil
}

func (c *Conn) open(ethernet bool, log *slog.Logger) error {
	fd, err := c.openRaw(receiveBuffer, false)
	if err != nil {
		return fmt.Errorf("receive socket: %w", err)
	}
	c.receive = newReader(fd, batch, longestAdvert, c.ipv6)
	if got := bufferSize(fd); got < receiveBuffer {
		log.Warn("receive buffer is smaller than wanted; raise net.core.rmem_max or give the capability CAP_NET_ADMIN",
			"interface", c.name, "family", family(c.ipv6), "bytes", got, "wanted", receiveBuffer)
	}
	if err := c.setupSend(fd); err != nil {
		return fmt.Errorf("prepare to send: %w", err)
	}

	if fd, err = c.openRaw(surveyBuffer, true); err != nil {
		return fmt.Errorf("survey socket: %w", err)
	}
	c.survey = newReader(fd, surveyBatch, longestAdvert, c.ipv6)

	if !ethernet {
		return nil // nothing here is announced by ARP or ND
	}
	if fd, err = c.openPacket(); err != nil {
		return fmt.Errorf("announcement socket: %w", err)
	}
	c.frames = newReader(fd, batch, longestFrame, false)
	return nil
}

func family(ipv6 bool) string {
	if ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

// newSocket is socket(2) with the missing capability named.
func newSocket(domain, proto int) (int, error) {
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return -1, fmt.Errorf("open a raw socket: the capability CAP_NET_RAW is missing: %w", err)
	}
	if err != nil {
		return -1, fmt.Errorf("open a raw socket: %w", err)
	}
	return fd, nil
}

// openRaw opens a socket for protocol 112 that takes what the receive filter
// takes, or, with refused set, the rest.
func (c *Conn) openRaw(buffer int, refused bool) (int, error) {
	domain := unix.AF_INET
	if c.ipv6 {
		domain = unix.AF_INET6
	}
	fd, err := newSocket(domain, protocol)
	if err != nil {
		return -1, err
	}
	if err := c.setupRaw(fd, buffer, refused); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// protocol is VRRP's number (RFC 9568 section 5.1.1.4).
const protocol = 112

// setupRaw makes fd a receiving socket. A raw socket takes packets of every
// interface from the moment it exists, so it is shut first, then bound, emptied
// of what came before, and opened last.
func (c *Conn) setupRaw(fd, buffer int, refused bool) error {
	if err := attach(fd, nothing()); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, c.index); err != nil {
		return fmt.Errorf("bind to the interface: %w", err)
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, buffer)

	// Without IP_MULTICAST_ALL off a socket gets the groups that others joined. A
	// raw IPv6 socket gets them anyway; those packets are the survey's.
	options := []option{{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0, "IP_MULTICAST_ALL"}}
	if c.ipv6 {
		options = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1, "IPV6_RECVHOPLIMIT"},
			{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"},
		}
	}
	if err := setOptions(fd, options); err != nil {
		return err
	}
	if err := c.join(fd); err != nil {
		return err
	}
	drain(fd)
	return attach(fd, c.filter(refused))
}

func (c *Conn) filter(refused bool) []bpf.Instruction {
	l := rawLayout4
	if c.ipv6 {
		l = rawLayout6
	}
	return advertFilter(c.ipv6, l, c.known, refused)
}

func (c *Conn) join(fd int) error {
	var err error
	if c.ipv6 {
		err = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: group6.As16(), Interface: uint32(c.index)})
	} else {
		err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: group4.As4(), Ifindex: int32(c.index)})
	}
	if err != nil {
		return fmt.Errorf("join %s: %w", Group(c.ipv6), err)
	}
	return nil
}

// openPacket opens the socket that sees the announcements of others. Its
// protocol is given only when it is bound, so that nothing reaches it before the
// filter. Bound to one protocol, not to all, it sees no outgoing frames.
func (c *Conn) openPacket() (int, error) {
	fd, err := newSocket(unix.AF_PACKET, 0)
	if err != nil {
		return -1, err
	}
	if err := c.setupPacket(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (c *Conn) setupPacket(fd int) error {
	if err := attach(fd, c.announcementFilter()); err != nil {
		return err
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, announcementBuffer)
	proto := uint16(unix.ETH_P_ARP)
	if c.ipv6 {
		proto = unix.ETH_P_IPV6
	}
	// Protocols of packet sockets are in network byte order.
	b := (*[2]byte)(unsafe.Pointer(&proto))
	b[0], b[1] = byte(proto>>8), byte(proto)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: c.index}); err != nil {
		return fmt.Errorf("bind to the interface: %w", err)
	}
	return nil
}

func (c *Conn) announcementFilter() []bpf.Instruction {
	if c.ipv6 {
		return announcementFilter6()
	}
	return announcementFilter4()
}

type option struct {
	level, name, value int
	text               string
}

func setOptions(fd int, options []option) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set %s to %d: %w", o.text, o.value, err)
		}
	}
	return nil
}

// setBuffer asks for a buffer of size bytes, by privilege or else as far as
// anybody may have it. What came of it is a matter of bufferSize.
func setBuffer(fd, force, ordinary, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, ordinary, size)
	}
}

// bufferSize is the receive buffer in the unit that setBuffer takes: the kernel
// doubles what it is asked for, to allow for its own overhead.
func bufferSize(fd int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return n / 2
}

// drain empties a socket whose filter lets nothing in any more.
func drain(fd int) {
	var b [1]byte
	for {
		if _, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT); err != nil && err != unix.EINTR {
			return
		}
	}
}

// SetKnown says which virtual routers are known here: their adverts come from
// Receive, those of others from Survey. Over IPv6 there is no version 2; its sets
// are ignored. No advert of a known one is lost by it. What waits in a socket was
// sorted by the old sets; so Receive may yield once more what is no longer known,
// and Survey what has just become known. The first sets after Open, or after none
// were known, let both begin empty.
func (c *Conn) SetKnown(known Known) error {
	if known == c.known {
		return nil
	}
	old := c.known
	c.known = known
	if old == (Known{}) {
		// Nobody was known, so nothing that waits is ours: a packet that was on its
		// way while the sockets were new may have come in past all filters, from
		// another interface.
		drain(c.receive.fd)
		drain(c.survey.fd)
	}
	err := attach(c.receive.fd, c.filter(false))
	if err == nil {
		err = attach(c.survey.fd, c.filter(true))
	}
	if err != nil {
		c.known = old
		return fmt.Errorf("change the known virtual routers on %s: %w", c.name, err)
	}
	return nil
}

// Watch makes p report the Conn's sockets: tag+ReadyReceive, tag+ReadySurvey and
// tag+ReadyAnnouncements. Where it fails, p reports none of them.
func (c *Conn) Watch(p *Poller, tag uint64) error {
	err := p.Add(c.receive.fd, tag+ReadyReceive)
	if err == nil {
		err = p.Add(c.survey.fd, tag+ReadySurvey)
	}
	if err == nil && c.frames != nil {
		err = p.Add(c.frames.fd, tag+ReadyAnnouncements)
	}
	c.poller = p
	if err != nil {
		c.Unwatch() // or Close, perhaps elsewhere, would touch the Poller
		return fmt.Errorf("watch the sockets of %s: %w", c.name, err)
	}
	return nil
}

// Unwatch takes the sockets out of the Poller again, so that the loop can give
// the Conn away to be closed.
func (c *Conn) Unwatch() {
	if c.poller == nil {
		return
	}
	for _, r := range []*reader{c.receive, c.survey, c.frames} {
		if r != nil {
			c.poller.Remove(r.fd)
		}
	}
	c.poller = nil
}

// Close closes the sockets, after Unwatch. It takes 10 to 20 ms, since the kernel
// lets every processor finish with a packet socket: a loop with short intervals
// leaves it to another goroutine. What Flush has not sent is lost. A second Close
// does nothing.
func (c *Conn) Close() error {
	c.Unwatch()
	var errs []error
	for _, r := range []**reader{&c.receive, &c.survey, &c.frames} {
		if *r != nil {
			errs = append(errs, unix.Close((*r).fd))
			*r = nil
		}
	}
	if c.virtual != nil {
		errs = append(errs, unix.Close(c.virtual.fd))
		c.virtual = nil
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the sockets of %s: %w", c.name, err)
	}
	return nil
}

// Stats returns the counters so far. It costs three system calls, 1 µs.
func (c *Conn) Stats() Stats {
	s := c.stats
	for _, o := range []struct {
		r     *reader
		count *uint64
	}{{c.receive, &s.ReceiveOverflow}, {c.survey, &s.SurveyOverflow}, {c.frames, &s.AnnouncementsLost}} {
		if o.r != nil {
			*o.count = dropped(o.r.fd)
		}
	}
	return s
}

// Counted is Stats without what only the kernel has counted: the overflows. It costs
// nothing.
func (c *Conn) Counted() Stats { return c.stats }

// dropped asks the kernel how many packets it dropped for want of room. The
// ancillary SO_RXQ_OVFL would tell the same, but only with the next packet that
// does get through, and for the price of a control message on each.
func dropped(fd int) uint64 {
	const (
		words = 9 // SK_MEMINFO_VARS
		drops = 8 // SK_MEMINFO_DROPS
	)
	var info [words]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[drops])
}

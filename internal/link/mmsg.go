package link

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is the most messages that one system call receives or sends.
const batch = 32

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
}

// The sockets do not block, so the calls below bypass the Go scheduler (raw):
// handing the processor over in mid-batch costs more than the batch.

func recvmmsg(fd int, hdrs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func sendmmsg(fd int, hdrs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// head is how much of each message a reader keeps in memory that is touched all
// the time. Nearly every advert fits; the rest of a longer one spills into pages
// that are otherwise never touched, and so take no memory.
const head = 256

// reader receives messages in batches into memory of its own.
type reader struct {
	fd      int
	longest int // bytes of the longest message; more is truncated
	hdrs    []mmsghdr
	iovs    []unix.Iovec
	heads   []byte // head bytes for each message
	whole   []byte // longest bytes for each message, for those beyond head
	names   []unix.RawSockaddrInet6
	control [][controlWords]uint64
}

// controlWords leaves room for the hop limit and the packet information of IPv6.
const controlWords = 12

// newReader prepares for messages of up to longest bytes from fd, size of them at
// once. With from set it asks for senders and control messages too (IPv6).
func newReader(fd, size, longest int, from bool) *reader {
	r := &reader{
		fd:      fd,
		longest: longest,
		hdrs:    make([]mmsghdr, size),
		iovs:    make([]unix.Iovec, 2*size),
		heads:   make([]byte, size*head),
	}
	if longest > head {
		r.whole = make([]byte, size*longest)
	}
	if from {
		r.names = make([]unix.RawSockaddrInet6, size)
		r.control = make([][controlWords]uint64, size)
	}
	for i := range r.hdrs {
		iov := r.iovs[2*i : 2*i+2]
		iov[0].Base = &r.heads[i*head]
		iov[0].SetLen(min(head, longest))
		h := &r.hdrs[i].hdr
		h.Iov = &iov[0]
		h.SetIovlen(1)
		if longest > head {
			iov[1].Base = &r.whole[i*longest+head]
			iov[1].SetLen(longest - head)
			h.SetIovlen(2)
		}
		if from {
			h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
			h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
		}
	}
	return r
}

// read receives up to limit messages and says how many. Nothing to read is no
// error.
func (r *reader) read(limit int) (int, unix.Errno) {
	hdrs := r.hdrs[:min(limit, len(r.hdrs))]
	if len(hdrs) == 0 {
		return 0, 0
	}
	if r.names != nil {
		// The kernel writes the lengths it used over the lengths there are.
		for i := range hdrs {
			hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
			hdrs[i].hdr.SetControllen(controlWords * 8)
		}
	}
	for {
		n, errno := recvmmsg(r.fd, hdrs)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return 0, 0
		}
		return n, errno
	}
}

// message is the i-th message of the last read, and whether it was cut.
func (r *reader) message(i int) (data []byte, truncated bool) {
	n := int(r.hdrs[i].n)
	truncated = r.hdrs[i].hdr.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0
	small := r.heads[i*head : (i+1)*head]
	if n <= head {
		return small[:n], truncated
	}
	whole := r.whole[i*r.longest : (i+1)*r.longest]
	copy(whole, small)
	return whole[:n], truncated
}

// ancillary finds the hop limit and the destination that the kernel reports
// beside the i-th message of an IPv6 socket.
func (r *reader) ancillary(i int) (hops uint8, dst [16]byte, ok bool) {
	var haveHops, haveDst bool
	rest := unsafe.Slice((*byte)(unsafe.Pointer(&r.control[i])), controlWords*8)
	rest = rest[:min(int(r.hdrs[i].hdr.Controllen), len(rest))]
	for len(rest) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(rest) {
			break
		}
		data := rest[unix.CmsgLen(0):size]
		switch {
		case h.Level != unix.IPPROTO_IPV6:
		case h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			hops = uint8(*(*int32)(unsafe.Pointer(&data[0])))
			haveHops = true
		case h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			copy(dst[:], data)
			haveDst = true
		}
		rest = rest[min(unix.CmsgSpace(size-unix.CmsgLen(0)), len(rest)):]
	}
	return hops, dst, haveHops && haveDst
}

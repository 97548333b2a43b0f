package link

import "net/netip"

// Announcements reads up to limit (at most 32) announcements of other stations.
// The result is good until the next call of Announcements.
func (c *Conn) Announcements(limit int) []Announcement {
	c.announcements = c.announcements[:0]
	if c.frames == nil {
		return nil
	}
	n, errno := c.frames.read(limit)
	if errno != 0 {
		c.stats.ReceiveErrors++ // the interface went down: said once, then it goes on
	}
	for i := range n {
		frame, _ := c.frames.message(i) // cut or not: only the beginning counts
		var a Announcement
		var ok bool
		if c.ipv6 {
			a, ok = parseNA(frame)
		} else {
			a, ok = parseARP(frame)
		}
		if !ok {
			continue // cannot be: the kernel's filter has seen it
		}
		if a.MAC == c.mac || MAC(frame[6:12]) == c.mac {
			c.stats.AnnouncementsOwn++
			continue
		}
		c.announcements = append(c.announcements, a)
	}
	c.stats.Announcements += uint64(len(c.announcements))
	return c.announcements
}

// parseARP reads a frame that announcementFilter4 let pass.
func parseARP(frame []byte) (Announcement, bool) {
	if len(frame) < arpEnd {
		return Announcement{}, false
	}
	return Announcement{
		Address: netip.AddrFrom4([4]byte(frame[arpSender:])),
		MAC:     MAC(frame[arpSenderMAC:]),
	}, true
}

// parseNA reads a frame that announcementFilter6 let pass. The checksum is not
// looked at: between virtual machines it is often still to be computed.
func parseNA(frame []byte) (Announcement, bool) {
	if len(frame) < naEnd {
		return Announcement{}, false
	}
	a := Announcement{
		Address: netip.AddrFrom16([16]byte(frame[naTarget:])),
		MAC:     MAC(frame[6:12]), // unless the option below says otherwise
	}
	// Options (RFC 4861 section 4.6): type, length in units of 8 bytes.
	for o := frame[naEnd:]; len(o) >= 8; {
		if o[0] == neighborTLLA && o[1] == 1 {
			a.MAC = MAC(o[2:8])
		}
		size := int(o[1]) * 8
		if size == 0 || size > len(o) {
			break
		}
		o = o[size:]
	}
	return a, true
}

package keepalived

import (
	"fmt"
	"slices"
	"time"
)

// announce is how often gratuitous ARP and unsolicited neighbour advertisements are
// sent.
type announce struct {
	count            int
	againAfter       time.Duration // 0: not
	every            time.Duration // 0: never
	gap              time.Duration // 0: none
	extra            time.Duration // garp_extra_if; 0: not
	counted, delayed bool          // count and againAfter were said
	lowerCount       int           // after a lower advertisement; -1: as the others
	lowerAfter       time.Duration // -1: as the others
}

// The bounds of baton's `announce`.
const (
	mostMessages = 100
	mostAgain    = time.Hour
	mostEvery    = 24 * time.Hour
	leastGap     = time.Millisecond
	mostGap      = time.Second
)

// announceKeywords are those that global_defs, with a prefix, and an instance have. of
// finds where they are kept.
func announceKeywords[T any](prefix string, of func(T) *announce) []keyword[T] {
	if prefix == "" {
		return announceCommon("", of)
	}
	return append(announceCommon(prefix, of),
		keyword[T]{name: "vrrp_garp_interval", read: func(c *conversion, t T, b *Block) { of(t).gap = max(of(t).gap, c.gap(b)) }},
		keyword[T]{name: "vrrp_gna_interval", read: func(c *conversion, t T, b *Block) { of(t).gap = max(of(t).gap, c.gap(b)) }},
	)
}

func announceCommon[T any](prefix string, of func(T) *announce) []keyword[T] {
	return []keyword[T]{
		{name: prefix + "garp_master_delay", read: func(c *conversion, t T, b *Block) {
			if n, ok := c.leading(b, 0); ok {
				of(t).againAfter, of(t).delayed = c.atMost(b, n, mostAgain), true
			}
		}},
		{name: prefix + "garp_master_repeat", read: func(c *conversion, t T, b *Block) {
			n, ok := c.leading(b, 0)
			if !ok {
				return
			}
			of(t).counted = true
			of(t).count = min(max(n, 1), mostMessages)
			switch {
			case n < 1:
				c.became(Ignored, b, "keepalived sends one at least")
			case n > mostMessages:
				c.became(Approximated, b, fmt.Sprintf("baton sends %d at most", mostMessages))
			default:
				c.became(Converted, b, "")
			}
		}},
		{name: prefix + "garp_master_refresh", read: func(c *conversion, t T, b *Block) {
			if n, ok := c.leading(b, 0); ok {
				of(t).every = c.atMost(b, n, mostEvery)
			}
		}},
		{name: prefix + "garp_master_refresh_repeat", read: func(c *conversion, t T, b *Block) {
			n, ok := c.leading(b, 0)
			switch {
			case !ok:
			case n > 1:
				c.became(Approximated, b, "baton sends one message for each address each time: make `every` shorter if that is too little")
			default:
				c.became(NotNeeded, b, "baton sends one message for each address each time")
			}
		}},
		{name: prefix + "garp_lower_prio_delay", read: func(c *conversion, t T, b *Block) {
			if n, ok := c.leading(b, 0); ok {
				of(t).lowerAfter = time.Duration(n) * time.Second
				c.became(NotNeeded, b, lowerText)
			}
		}},
		{name: prefix + "garp_lower_prio_repeat", read: func(c *conversion, t T, b *Block) {
			if n, ok := c.leading(b, 0); ok {
				of(t).lowerCount = n
				c.became(NotNeeded, b, lowerText)
			}
		}},
		{name: prefix + "garp_extra_if", read: func(c *conversion, t T, b *Block) { c.readExtra(of(t), b) }},
		{name: prefix + "vmac_garp_intvl", read: func(c *conversion, t T, b *Block) { c.readExtra(of(t), b) }},
	}
}

const lowerText = "once a rival has given way, baton announces the addresses as when the role is taken"

// atMost is a number of seconds up to a bound, and accounts for the line.
func (c *conversion) atMost(b *Block, n int, most time.Duration) time.Duration {
	if n > int(most/time.Second) {
		c.became(Approximated, b, duration(most)+" is the most that baton has")
		return most
	}
	c.became(Converted, b, "")
	return time.Duration(n) * time.Second
}

// gap is the time between two messages on an interface.
func (c *conversion) gap(b *Block) time.Duration {
	d, ok := c.seconds(b, 0, time.Hour)
	switch {
	case !ok || d == 0:
		if ok {
			c.became(Converted, b, "")
		}
		return 0
	case d < leastGap || d > mostGap || d%leastGap != 0:
		near := min(max(d.Round(leastGap), leastGap), mostGap)
		c.became(Approximated, b, fmt.Sprintf("baton has %s to %s, in whole milliseconds: %s", duration(leastGap), duration(mostGap), duration(near)))
		return near
	}
	c.became(Converted, b, "")
	return d
}

// readExtra reads how often switches are told of addresses that are on other interfaces.
func (c *conversion) readExtra(a *announce, b *Block) {
	args := b.Arguments()
	if len(args) > 0 && args[0].Text == "all" {
		args = args[1:]
	}
	c.stray(b)
	if len(args) != 1 {
		c.report.line(Ignored, b, "keepalived wants a number of seconds from 0 to 86400")
		return
	}
	d, ok := parseSeconds(args[0].Text)
	if !ok || d > mostEvery {
		c.report.line(Ignored, b, "keepalived wants a number of seconds from 0 to 86400")
		return
	}
	a.extra = d
	c.report.line(Approximated, b, "where an address is on another interface, all addresses of the router are announced so often")
}

// readGarpGroup reads the pace of announcements on some interfaces.
func (c *conversion) readGarpGroup(b *Block) {
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "garp_group has no name", args...)
	}
	c.report.words(Converted, "", b.Words[0])
	var g garpGroup
	readBlock(c, &g, b.Children, []keyword[*garpGroup]{
		{name: "garp_interval", read: func(c *conversion, g *garpGroup, b *Block) { g.gap = max(g.gap, c.gap(b)) }},
		{name: "gna_interval", read: func(c *conversion, g *garpGroup, b *Block) { g.gap = max(g.gap, c.gap(b)) }},
		{name: "interface", read: func(c *conversion, g *garpGroup, b *Block) {
			if w, ok := c.first(b); ok {
				g.interfaces = append(g.interfaces, w.Text)
				c.became(Converted, b, "")
			}
		}},
		{name: "interfaces", read: func(c *conversion, g *garpGroup, b *Block) {
			c.report.line(Approximated, b, "the pace is that of each interface, not of all together: make `gap` longer if the switch is one")
			for _, line := range b.Children {
				for _, w := range line.Words {
					g.interfaces = append(g.interfaces, w.Text)
				}
				c.report.block(Converted, line, "")
			}
		}},
	})
	c.globals.garpGroups = append(c.globals.garpGroups, g)
}

// announceOf is `announce` of a router: what is not baton's default.
func (c *conversion) announceOf(in *instance) mapping {
	a := in.announce
	m := newMapping()
	if a.count != 5 {
		m.set("count", a.count)
	}
	if a.againAfter != 5*time.Second {
		m.set("again_after", duration(a.againAfter))
	}
	every := a.every
	if a.extra > 0 && (every == 0 || a.extra < every) && in.elsewhere() {
		every = max(a.extra.Round(time.Second), time.Second)
	}
	if !in.elsewhere() {
		for _, b := range in.block.Children {
			if b.Keyword() == "garp_extra_if" || b.Keyword() == "vmac_garp_intvl" {
				c.report.amend(b.Pos(), NotNeeded, "no address is on another interface")
			}
		}
	}
	if every > 0 {
		m.set("every", duration(every))
	}
	gap := a.gap
	for _, g := range c.globals.garpGroups {
		if slices.Contains(g.interfaces, in.iface) {
			gap = g.gap
		}
	}
	if gap > 0 {
		m.set("gap", duration(gap))
	}
	return m.flow()
}

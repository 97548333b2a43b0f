package doctor

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// The firewall is asked what it does with a packet by going through its rules as the
// kernel does. A match that depends on what is not known goes both ways.

// fate is what can become of a packet.
type fate uint8

const (
	next     fate = 1 << iota // the rule after this one
	returned                  // back to where the chain was called from
	accepted
	dropped
)

// truth of a match.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

// judgement is what the firewall does with one packet.
type judgement struct {
	packet packet
	steps  int // that are left
	where  string
	chain  *chain // of where
	state  uint32 // of connection tracking
	marked bool   // a rule may have set the mark
}

// mostSteps bounds the rules that one packet is led through; rules can call each
// other very often.
const mostSteps = 1_000_000

// mostDepth is that of the kernel (NFT_JUMP_STACK_SIZE).
const mostDepth = 16

// verdict is what becomes of a packet, and where.
type verdict struct {
	dropped bool   // for certain
	unclear bool   // it may be
	where   string // the chain and the rule, or the policy
	chain   *chain
}

// judge tells what becomes of a packet.
func (r *ruleset) judge(p packet) verdict {
	j := &judgement{packet: p, steps: mostSteps, state: p.state}
	var worst verdict
	for _, hook := range p.hooks() {
		for _, c := range r.chains {
			if !c.base || c.hook != hook.number || !slices.Contains(hook.families, c.table.family) {
				continue
			}
			j.where, j.chain = "", nil
			f := j.run(c, 0)
			switch {
			case f&returned == 0:
			case c.drop:
				f |= dropped
				j.noteDrop(c, "its policy")
			default:
				f |= accepted
			}
			f &= accepted | dropped
			if hook.device && f == dropped { // of which interface the chain is, is not known
				f |= accepted
			}
			v := verdict{dropped: f == dropped, unclear: f == dropped|accepted, where: j.where, chain: j.chain}
			if v.dropped {
				return v
			}
			if v.unclear && !worst.unclear {
				worst = v
			}
		}
	}
	return worst
}

// hook is where in a family packets come by.
type hook struct {
	families []nftables.TableFamily
	number   nftables.ChainHook
	device   bool // of one interface, or of some
}

// hooks are those that the packet passes, in order.
func (p packet) hooks() []hook {
	inet := []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyIPv4}
	if p.v6 {
		inet[1] = nftables.TableFamilyIPv6
	}
	netdev := []nftables.TableFamily{nftables.TableFamilyNetdev}
	const arpIn, arpOut = 0, 1
	switch {
	case p.arp && p.in:
		return []hook{{netdev, *nftables.ChainHookIngress, true}, {[]nftables.TableFamily{nftables.TableFamilyARP}, arpIn, false}}
	case p.arp:
		return []hook{{[]nftables.TableFamily{nftables.TableFamilyARP}, arpOut, false}, {netdev, *nftables.ChainHookEgress, true}}
	case p.in:
		const inetIngress = 5 // NF_INET_INGRESS
		return []hook{
			{netdev, *nftables.ChainHookIngress, true}, {inet[:1], inetIngress, true},
			{inet, *nftables.ChainHookPrerouting, false}, {inet, *nftables.ChainHookInput, false},
		}
	}
	return []hook{{inet, *nftables.ChainHookOutput, false}, {inet, *nftables.ChainHookPostrouting, false}, {netdev, *nftables.ChainHookEgress, true}}
}

func (j *judgement) noteDrop(c *chain, by string) {
	if j.chain == nil {
		j.where, j.chain = fmt.Sprintf("chain %s of table %s, %s", c.name, c.table, by), c
	}
}

// run leads the packet through a chain; next is not among what it returns.
func (j *judgement) run(c *chain, depth int) fate {
	var all fate
	for _, r := range c.rules {
		if j.steps--; j.steps < 0 || depth >= mostDepth {
			j.noteDrop(c, "which calls too many others")
			return all | accepted | dropped
		}
		f := j.rule(c, r, depth)
		all |= f &^ next
		if f&next == 0 {
			return all
		}
	}
	return all | returned
}

// rule leads it through a rule.
func (j *judgement) rule(c *chain, r rule, depth int) fate {
	var regs registers
	sure := yes
	end := func(f fate) fate {
		if f&dropped != 0 {
			by := "the rule with handle"
			if c.table.program != "" {
				by = "its rule"
			}
			j.noteDrop(c, fmt.Sprintf("%s %d", by, r.handle))
		}
		if sure == maybe {
			f |= next
		}
		return f
	}
	for _, e := range r.exprs {
		match := yes
		switch e := e.(type) {
		case *expr.Verdict:
			return end(j.verdict(c, e, depth))
		case *expr.Reject:
			return end(dropped)
		case *expr.NAT, *expr.Masq, *expr.Redir, *expr.TProxy:
			return end(accepted)
		case *expr.Queue:
			return end(accepted | dropped)
		case *expr.Notrack:
			j.state = expr.CtStateBitUNTRACKED
		case *expr.Target:
			if e.Name == "REJECT" {
				return end(dropped)
			}
			if e.Name == "NFQUEUE" {
				return end(accepted | dropped)
			}
		case *expr.Limit, *expr.Connlimit, *expr.Quota:
			match = maybe
		case *expr.Dynset:
			if len(e.Exprs) > 0 {
				match = maybe
			}
		case *expr.Match:
			match = j.extension(e)
		case *expr.Lookup:
			v, m := regs.lookup(c.table.sets[e.SetName], e)
			if len(v) > 0 {
				var f fate
				for _, one := range v {
					f |= j.verdict(c, one, depth)
				}
				if m == maybe {
					sure = maybe
				}
				return end(f)
			}
			match = m
		default:
			match = j.simple(&regs, e)
		}
		switch match {
		case no:
			return next
		case maybe:
			sure = maybe
		}
	}
	return next
}

func (j *judgement) verdict(c *chain, v *expr.Verdict, depth int) fate {
	switch v.Kind {
	case expr.VerdictAccept:
		return accepted
	case expr.VerdictDrop:
		return dropped
	case expr.VerdictReturn:
		return returned
	case expr.VerdictContinue:
		return next
	case expr.VerdictJump, expr.VerdictGoto:
		to := c.table.chains[v.Chain]
		if to == nil {
			return next | returned | accepted | dropped
		}
		f := j.run(to, depth+1)
		if v.Kind == expr.VerdictJump && f&returned != 0 {
			f = f&^returned | next
		}
		return f
	}
	return accepted | dropped // queue, stolen
}

// extension judges a match of iptables.
func (j *judgement) extension(m *expr.Match) truth {
	p := j.packet
	switch m.Name {
	case "comment":
		return yes
	case "tcp", "udp", "sctp", "dccp", "udplite", "esp", "ah", "icmp", "multiport": // multiport has ports alone
		return no
	case "icmp6":
		if p.protocol() != protocolICMPv6 || !p.v6 {
			return no
		}
		if raw, ok := m.Info.(*xt.Unknown); ok && len(*raw) >= 4 {
			kind, invert := (*raw)[0], (*raw)[3]&1 == 1
			return truthOf((kind == 0xff || kind == p.transport.b[0]) != invert)
		}
	case "conntrack":
		switch info := m.Info.(type) {
		case *xt.ConntrackMtinfo1:
			return j.conntrack(info.ConntrackMtinfoBase, uint16(info.StateMask))
		case *xt.ConntrackMtinfo2:
			return j.conntrack(info.ConntrackMtinfoBase, info.StateMask)
		case *xt.ConntrackMtinfo3:
			return j.conntrack(info.ConntrackMtinfoBase, info.StateMask)
		}
	case "state":
		if raw, ok := m.Info.(*xt.Unknown); ok && len(*raw) >= 4 {
			return truthOf(binary.NativeEndian.Uint32(*raw)&j.state != 0)
		}
	case "pkttype":
		if raw, ok := m.Info.(*xt.Unknown); ok && len(*raw) >= 8 && p.in {
			kind, invert := binary.NativeEndian.Uint32(*raw), binary.NativeEndian.Uint32((*raw)[4:]) != 0
			return truthOf((kind == uint32(p.meta(expr.MetaKeyPKTTYPE, false).b[0])) != invert)
		}
	case "addrtype":
		if info, ok := m.Info.(*xt.AddrTypeV1); ok && info.Source == 0 {
			const invertDest = 2
			return truthOf((info.Dest&(1<<j.packet.addressType()) != 0) != (info.Flags&invertDest != 0))
		}
	}
	return maybe
}

func (j *judgement) conntrack(m xt.ConntrackMtinfoBase, states uint16) truth {
	const state = uint16(xt.ConntrackState) | uint16(xt.ConntrackStateAlias)
	if m.MatchFlags&^state != 0 || m.MatchFlags&state == 0 {
		return maybe
	}
	return truthOf((uint32(states)&j.state != 0) != (m.InvertFlags&state != 0)) // iptables has the same bits
}

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

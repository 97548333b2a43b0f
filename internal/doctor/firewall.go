package doctor

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"baton/internal/config"
)

// protocolVRRP is the IP protocol number (RFC 9568 section 5.1).
const protocolVRRP = 112

// chain is one of nftables, with its rules. Those of iptables-nft look the same.
type chain struct {
	table, name string
	family      nftables.TableFamily
	hook        string // input, output; empty: it is only jumped to
	drops       bool   // the policy of a base chain
	rules       [][]expr.Any
}

// packet is an advertisement on its way.
type packet struct {
	six, out bool
	iface    string
	multi    bool // to the group
}

// verdict is what becomes of a packet, as far as it can be told.
type verdict int

const (
	goesOn verdict = iota
	accepted
	dropped
	unclear
)

// firewall looks whether advertisements of each kind that a router has would pass.
func firewall(p Patient, h host) []Finding {
	chains, err := h.ruleset()
	if err != nil {
		return []Finding{{"firewall", Unknown, "the rules of the firewall: " + err.Error(), "as root: baton doctor"}}
	}
	var found []Finding
	seen := map[packet]bool{}
	for _, r := range p.Config.Routers {
		for _, out := range []bool{false, true} {
			q := packet{six: r.IPv6, out: out, iface: r.Interface, multi: len(r.Peers) == 0}
			if !seen[q] {
				seen[q] = true
				found = append(found, through(chains, q, r)...)
			}
		}
	}
	return found
}

// through judges the base chains that a packet passes. Each of them can drop it.
func through(chains []chain, q packet, r config.Router) []Finding {
	hook, what := "input", "drops advertisements (IP protocol 112) that come in on "+q.iface
	if q.out {
		hook, what = "output", "drops advertisements (IP protocol 112) that leave by "+q.iface
	}
	mend := "nft: ip daddr 224.0.0.18 ip protocol 112 accept; iptables: -p 112 -j ACCEPT; firewalld: --add-protocol=vrrp"
	switch {
	case q.six && q.multi:
		mend = "nft: ip6 daddr ff02::12 meta l4proto 112 accept; ip6tables: -p 112 -j ACCEPT"
	case !q.multi:
		mend = "let in and out IP protocol 112 of each peer: " + fmt.Sprint(r.Peers)
	}
	var found []Finding
	for _, c := range chains {
		if c.hook != hook || !c.sees(q.six) {
			continue
		}
		v := walk(chains, c, q, 0)
		if v == goesOn && c.drops {
			v = dropped
		}
		at := fmt.Sprintf("the chain %s of table %s ", c.name, c.table)
		switch v {
		case dropped:
			found = append(found, Finding{"firewall", Bad, at + what, mend})
		case unclear:
			found = append(found, Finding{"firewall", Doubt, at + "may be one that " + what + ": its rules are more than doctor reads", mend})
		}
	}
	return found
}

func (c chain) sees(six bool) bool {
	switch c.family {
	case nftables.TableFamilyINet:
		return true
	case nftables.TableFamilyIPv6:
		return six
	case nftables.TableFamilyIPv4:
		return !six
	}
	return false
}

// maxJumps is deeper than the kernel lets chains be (NFT_JUMP_STACK_SIZE).
const maxJumps = 16

// walk goes through the rules of a chain. One that may match decides nothing by itself:
// where what it would do is what happens anyway, nothing is unclear.
func walk(chains []chain, c chain, q packet, depth int) verdict {
	possible := goesOn // what a rule that may match would do
	for _, rule := range c.rules {
		v, match := judge(chains, c, rule, q, depth)
		if v == goesOn || match == no {
			continue
		}
		if match == maybe || v == unclear {
			if possible != goesOn && possible != v {
				return unclear
			}
			possible = v
			continue
		}
		if possible != goesOn && possible != v {
			return unclear
		}
		return v
	}
	if possible == goesOn {
		return goesOn
	}
	if possible == dropped && c.drops {
		return dropped
	}
	return unclear
}

// answer is whether a rule matches.
type answer int

const (
	yes answer = iota
	no
	maybe
)

// judge tells what a rule does with a packet, and whether it matches.
func judge(chains []chain, c chain, rule []expr.Any, q packet, depth int) (verdict, answer) {
	registers := map[uint32][]byte{}
	match := yes
	for _, e := range rule {
		switch e := e.(type) {
		case *expr.Meta:
			registers[e.Register] = q.meta(e.Key)
		case *expr.Payload:
			registers[e.DestRegister] = q.field(e)
		case *expr.Ct:
			registers[e.Register] = nil
			if e.Key == expr.CtKeySTATE { // of a packet that answers nothing
				registers[e.Register] = []byte{8, 0, 0, 0} // NF_CT_STATE_BIT(IP_CT_NEW)
			}
		case *expr.Bitwise:
			registers[e.DestRegister] = masked(registers[e.SourceRegister], e.Mask, e.Xor)
		case *expr.Cmp:
			match = worse(match, compare(registers[e.Register], e))
		case *expr.Counter, *expr.Log, *expr.Limit:
		case *expr.Verdict:
			return follow(chains, c, e, q, depth), match
		case *expr.Reject:
			return dropped, match
		default:
			match = worse(match, maybe)
		}
		if match == no {
			return goesOn, no
		}
	}
	return goesOn, match
}

func worse(a, b answer) answer {
	switch {
	case a == no || b == no:
		return no
	case a == maybe || b == maybe:
		return maybe
	}
	return yes
}

func follow(chains []chain, c chain, v *expr.Verdict, q packet, depth int) verdict {
	switch v.Kind {
	case expr.VerdictAccept:
		return accepted
	case expr.VerdictDrop:
		return dropped
	case expr.VerdictJump, expr.VerdictGoto:
		if depth == maxJumps {
			return unclear
		}
		for _, o := range chains {
			if o.table == c.table && o.family == c.family && o.name == v.Chain {
				return walk(chains, o, q, depth+1)
			}
		}
		return unclear
	case expr.VerdictReturn, expr.VerdictContinue, expr.VerdictBreak:
		return goesOn // of a return in the middle of a chain that is not quite so
	}
	return unclear
}

// meta is what a packet has of a key; nil: it cannot be told.
func (q packet) meta(key expr.MetaKey) []byte {
	name := func(is bool) []byte {
		if !is {
			return make([]byte, unix.IFNAMSIZ)
		}
		return append([]byte(q.iface), make([]byte, unix.IFNAMSIZ-len(q.iface))...)
	}
	switch key {
	case expr.MetaKeyL4PROTO:
		return []byte{protocolVRRP}
	case expr.MetaKeyNFPROTO:
		if q.six {
			return []byte{unix.NFPROTO_IPV6}
		}
		return []byte{unix.NFPROTO_IPV4}
	case expr.MetaKeyIIFNAME:
		return name(!q.out)
	case expr.MetaKeyOIFNAME:
		return name(q.out)
	case expr.MetaKeyPKTTYPE:
		if q.multi {
			return []byte{unix.PACKET_MULTICAST}
		}
	}
	return nil
}

// field is what a packet has in its IP header; nil: it cannot be told.
func (q packet) field(p *expr.Payload) []byte {
	if p.Base != expr.PayloadBaseNetworkHeader {
		return nil
	}
	group4, group6 := []byte{224, 0, 0, 18}, append([]byte{0xff, 0x02}, append(make([]byte, 13), 0x12)...)
	switch {
	case !q.six && p.Offset == 9 && p.Len == 1, q.six && p.Offset == 6 && p.Len == 1:
		return []byte{protocolVRRP}
	case !q.six && q.multi && p.Offset == 16 && p.Len <= 4:
		return group4[:p.Len]
	case q.six && q.multi && p.Offset == 24 && p.Len <= 16:
		return group6[:p.Len]
	case q.multi && (!q.six && p.Offset == 8 || q.six && p.Offset == 7) && p.Len == 1:
		return []byte{255} // the TTL
	}
	return nil
}

func masked(value, mask, xor []byte) []byte {
	if value == nil || len(mask) != len(value) {
		return nil
	}
	out := slices.Clone(value)
	for i := range out {
		out[i] &= mask[i]
		if i < len(xor) {
			out[i] ^= xor[i]
		}
	}
	return out
}

func compare(value []byte, e *expr.Cmp) answer {
	if value == nil {
		return maybe
	}
	n := min(len(value), len(e.Data)) // of a name with a star the kernel compares the beginning
	order := bytes.Compare(value[:n], e.Data[:n])
	is := false
	switch e.Op {
	case expr.CmpOpEq:
		is = order == 0
	case expr.CmpOpNeq:
		is = order != 0
	case expr.CmpOpLt:
		is = order < 0
	case expr.CmpOpLte:
		is = order <= 0
	case expr.CmpOpGt:
		is = order > 0
	case expr.CmpOpGte:
		is = order >= 0
	}
	if is {
		return yes
	}
	return no
}

// readRuleset reads nftables, which also has the rules of iptables-nft.
func readRuleset() ([]chain, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("ask nftables: %w", err)
	}
	all, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the chains of nftables: %w", err)
	}
	var chains []chain
	for _, c := range all {
		kept := chain{table: c.Table.Name, name: c.Name, family: c.Table.Family}
		if c.Hooknum != nil {
			switch *c.Hooknum {
			case *nftables.ChainHookInput:
				kept.hook = "input"
			case *nftables.ChainHookOutput:
				kept.hook = "output"
			}
		}
		kept.drops = c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("list the rules of %s %s: %w", c.Table.Name, c.Name, err)
		}
		for _, r := range rules {
			kept.rules = append(kept.rules, r.Exprs)
		}
		chains = append(chains, kept)
	}
	return chains, nil
}

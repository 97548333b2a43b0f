package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// The iptables before nftables keeps its rules elsewhere. Its own program tells them,
// as text; they are judged as those of nftables are.

// legacyLimit bounds the program.
const legacyLimit = 5 * time.Second

// readLegacy asks iptables-legacy or ip6tables-legacy for its rules.
func readLegacy(ctx context.Context, program string, family nftables.TableFamily) ([]*chain, error) {
	ctx, cancel := context.WithTimeout(ctx, legacyLimit)
	defer cancel()
	var path string
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if found, err := exec.LookPath(dir + program + "-legacy-save"); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		return nil, fmt.Errorf("it has rules, and %s-legacy-save is not there to tell them", program)
	}
	c := exec.CommandContext(ctx, path)
	c.WaitDelay = time.Second
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return parseLegacy(string(out), program+"-legacy", family), nil
}

// legacyHooks are where the chains are that packets come by, with their place among
// those of nftables.
var legacyHooks = map[string]*nftables.ChainHook{
	"PREROUTING": nftables.ChainHookPrerouting, "INPUT": nftables.ChainHookInput,
	"OUTPUT": nftables.ChainHookOutput, "POSTROUTING": nftables.ChainHookPostrouting,
}

// parseLegacy reads what iptables-save writes. What it does not know is a match that
// goes both ways.
func parseLegacy(text, program string, family nftables.TableFamily) []*chain {
	var chains []*chain
	var t *table
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			t = &table{family: family, name: line[1:], program: program, chains: make(map[string]*chain)}
		case t == nil || t.name == "nat":
		case strings.HasPrefix(line, ":"):
			name, rest, _ := strings.Cut(line[1:], " ")
			c := &chain{table: t, name: name}
			if h := legacyHooks[name]; h != nil {
				c.base, c.hook, c.drop = true, *h, strings.HasPrefix(rest, "DROP")
				if t.name == "raw" {
					c.prio = *nftables.ChainPriorityRaw
				}
			}
			t.chains[name] = c
			chains = append(chains, c)
		case strings.HasPrefix(line, "-A "):
			words := legacyWords(line)
			if c := t.chains[words[1]]; c != nil {
				c.rules = append(c.rules, rule{handle: uint64(len(c.rules) + 1), exprs: legacyRule(words[2:], t)})
			}
		}
	}
	slices.SortStableFunc(chains, func(a, b *chain) int { return cmp.Compare(a.prio, b.prio) })
	return chains
}

// legacyWords cuts a line; a text with spaces stands in quotes.
func legacyWords(line string) []string {
	var words []string
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	for len(words) < 2 {
		words = append(words, "")
	}
	return words
}

// legacyRule makes a rule of the words behind -A CHAIN.
func legacyRule(words []string, t *table) (exprs []expr.Any) {
	not := false
	for i := 0; i < len(words); i++ {
		option, value := words[i], ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch option {
		case "!":
			not = true
			continue
		case "-m": // the options that follow are its own
		case "-j", "-g":
			return append(exprs, legacyTarget(option, value, t)) // the rest is the target's
		default:
			exprs = append(exprs, legacyMatch(option, value, not, t.family)...)
		}
		not = false
		if !strings.HasPrefix(value, "-") && value != "!" {
			i++
		}
	}
	return exprs
}

func legacyTarget(option, value string, t *table) expr.Any {
	switch value {
	case "ACCEPT":
		return &expr.Verdict{Kind: expr.VerdictAccept}
	case "DROP":
		return &expr.Verdict{Kind: expr.VerdictDrop}
	case "RETURN":
		return &expr.Verdict{Kind: expr.VerdictReturn}
	case "REJECT", "NFQUEUE":
		return &expr.Target{Name: value}
	}
	switch {
	case t.chains[value] == nil: // LOG, MARK and others, after which it goes on
		return &expr.Counter{}
	case option == "-g":
		return &expr.Verdict{Kind: expr.VerdictGoto, Chain: value}
	}
	return &expr.Verdict{Kind: expr.VerdictJump, Chain: value}
}

// legacyProtocols are those that matter; any other is none of ours.
var legacyProtocols = map[string]byte{"vrrp": protocolVRRP, "112": protocolVRRP, "ipv6-icmp": protocolICMPv6, "icmpv6": protocolICMPv6, "58": protocolICMPv6}

// legacyMatch is one option of a rule.
func legacyMatch(option, value string, not bool, family nftables.TableFamily) []expr.Any {
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	unclear := []expr.Any{&expr.Limit{}}
	switch option {
	case "--comment":
		return nil
	case "-p":
		if value == "all" {
			return nil
		}
		protocol, ours := legacyProtocols[value]
		if !ours {
			protocol = 255
		}
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte{protocol}}}
	case "-i", "-o":
		key, name := expr.MetaKeyIIFNAME, append([]byte(value), 0)
		if option == "-o" {
			key = expr.MetaKeyOIFNAME
		}
		if start, any := strings.CutSuffix(value, "+"); any {
			name = []byte(start)
		}
		return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
	case "-s", "-d":
		p, err := netip.ParsePrefix(value)
		if err != nil {
			return unclear // with a mask of its own
		}
		return legacyAddress(option == "-d", p, op, family)
	case "--ctstate", "--state":
		return legacyState(value, not)
	case "--dst-type":
		kinds := map[string]int{"UNICAST": unix.RTN_UNICAST, "LOCAL": unix.RTN_LOCAL, "BROADCAST": unix.RTN_BROADCAST, "MULTICAST": unix.RTN_MULTICAST}
		kind, known := kinds[value]
		if !known {
			return unclear
		}
		info := &xt.AddrTypeV1{Dest: 1 << kind}
		if not {
			info.Flags = 2
		}
		return []expr.Any{&expr.Match{Name: "addrtype", Info: info}}
	case "--pkt-type":
		kinds := map[string]byte{"unicast": unix.PACKET_HOST, "broadcast": unix.PACKET_BROADCAST, "multicast": unix.PACKET_MULTICAST}
		return []expr.Any{&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte{kinds[value]}}}
	case "--icmpv6-type":
		kind, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return unclear
		}
		return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte{byte(kind)}}}
	}
	return unclear
}

func legacyAddress(destination bool, p netip.Prefix, op expr.CmpOp, family nftables.TableFamily) []expr.Any {
	at, size := uint32(12), 4
	if family == nftables.TableFamilyIPv6 {
		at, size = 8, 16
	}
	if destination {
		at += uint32(size)
	}
	mask := make([]byte, size)
	for i := range min(p.Bits(), 8*size) {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: uint32(size)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func legacyState(list string, not bool) []expr.Any {
	var info xt.ConntrackMtinfo3
	info.MatchFlags = uint16(xt.ConntrackState)
	if not {
		info.InvertFlags = info.MatchFlags
	}
	states := map[string]uint32{
		"INVALID": expr.CtStateBitINVALID, "ESTABLISHED": expr.CtStateBitESTABLISHED, "RELATED": expr.CtStateBitRELATED,
		"NEW": expr.CtStateBitNEW, "UNTRACKED": expr.CtStateBitUNTRACKED,
	}
	for name := range strings.SplitSeq(list, ",") {
		info.StateMask |= uint16(states[name]) // SNAT and DNAT are none of ours
	}
	return []expr.Any{&expr.Match{Name: "conntrack", Info: &info}}
}

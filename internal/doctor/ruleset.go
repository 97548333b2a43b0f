package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ruleset is nftables as the kernel has it, with what iptables-nft has put there.
type ruleset struct {
	chains []*chain
}

// chain is a list of rules; one with a hook is where packets come by.
type chain struct {
	table *table
	name  string
	base  bool
	hook  nftables.ChainHook
	prio  nftables.ChainPriority
	drop  bool // its policy
	rules []rule
}

// table is where names of chains and sets belong to.
type table struct {
	family  nftables.TableFamily
	name    string
	program string // of iptables-legacy: who has it; empty: nftables
	chains  map[string]*chain
	sets    map[string]*set
}

type rule struct {
	handle uint64
	exprs  []expr.Any
}

// set is a set or a map.
type set struct {
	size     int   // of a key, in bytes
	fields   []int // of a key that has several, in bytes with their padding
	interval bool
	elements []element
}

// element of an interval set is a start or an end, else a value; without a key it
// stands for all others.
type element struct {
	key, keyEnd []byte
	end         bool
	value       []byte
	verdict     *expr.Verdict
}

// most bounds the rules, and the elements of sets, that are read.
const most = 200_000

var errTooMuch = errors.New("it has more rules and elements than are read")

// families are those in which a packet can be dropped that baton depends on.
var families = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
	nftables.TableFamilyARP: "arp", nftables.TableFamilyNetdev: "netdev",
}

func (t *table) String() string {
	if t.program != "" {
		return t.name + " of " + t.program
	}
	return families[t.family] + " " + t.name
}

// readRuleset reads nftables of the calling thread's network namespace.
func readRuleset() (*ruleset, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	list, err := conn.ListChains()
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, errors.New("CAP_NET_ADMIN is missing: run it as root")
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP):
		return new(ruleset), nil // a kernel without nftables drops nothing by it
	case err != nil:
		return nil, fmt.Errorf("list chains: %w", err)
	}
	type key struct {
		family nftables.TableFamily
		name   string
	}
	tables := make(map[key]*table)
	all, left := new(ruleset), most
	for _, c := range list {
		if families[c.Table.Family] == "" {
			continue
		}
		k := key{c.Table.Family, c.Table.Name}
		if tables[k] == nil {
			t := &table{family: k.family, name: k.name, chains: make(map[string]*chain), sets: make(map[string]*set)}
			if err := t.readSets(conn, &left); err != nil {
				return nil, err
			}
			tables[k] = t
		}
		read, err := tables[k].readChain(conn, c, &left)
		if err != nil {
			return nil, err
		}
		all.chains = append(all.chains, read)
	}
	slices.SortStableFunc(all.chains, func(a, b *chain) int { return cmp.Compare(a.prio, b.prio) })
	return all, nil
}

func (t *table) readChain(conn *nftables.Conn, c *nftables.Chain, left *int) (*chain, error) {
	read := &chain{table: t, name: c.Name}
	if c.Hooknum != nil && c.Priority != nil && c.Type != nftables.ChainTypeNAT {
		read.base, read.hook, read.prio = true, *c.Hooknum, *c.Priority
		read.drop = c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
	}
	t.chains[c.Name] = read
	rules, err := conn.GetRules(c.Table, c)
	if err != nil {
		return nil, fmt.Errorf("list the rules of chain %s of table %s: %w", c.Name, t, err)
	}
	if *left -= len(rules); *left < 0 {
		return nil, errTooMuch
	}
	for _, r := range rules {
		read.rules = append(read.rules, rule{r.Handle, r.Exprs})
	}
	return read, nil
}

func (t *table) readSets(conn *nftables.Conn, left *int) error {
	of := &nftables.Table{Family: t.family, Name: t.name}
	sets, err := conn.GetSets(of)
	if err != nil {
		return fmt.Errorf("list the sets of table %s: %w", t, err)
	}
	for _, s := range sets {
		s.Table = of
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return fmt.Errorf("list the elements of set %s of table %s: %w", s.Name, t, err)
		}
		if *left -= len(elements); *left < 0 {
			return errTooMuch
		}
		t.sets[s.Name] = newSet(s, elements)
	}
	return nil
}

func newSet(s *nftables.Set, elements []nftables.SetElement) *set {
	read := &set{size: int(s.KeyType.Bytes), interval: s.Interval}
	if types := nftables.ConcatSetTypeElements(s.KeyType); len(types) > 1 {
		for _, t := range types {
			read.fields = append(read.fields, int(t.Bytes+3)&^3)
		}
	}
	for _, e := range elements {
		el := element{key: e.Key, keyEnd: e.KeyEnd, end: e.IntervalEnd, value: e.Val}
		if s.IsMap {
			el.verdict = verdictIn(e.Val)
		}
		read.size = max(read.size, len(e.Key))
		read.elements = append(read.elements, el)
	}
	if read.interval && len(read.fields) == 0 {
		slices.SortStableFunc(read.elements, func(a, b element) int {
			switch by := slices.Compare(a.key, b.key); {
			case by != 0:
				return by
			case a.end == b.end:
				return 0
			case a.end: // where one range ends the next may begin
				return -1
			}
			return 1
		})
	}
	return read
}

// verdictIn reads the verdict of a map's element; nil: it is another value.
func verdictIn(b []byte) *expr.Verdict {
	attributes, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return nil
	}
	var v *expr.Verdict
	for _, a := range attributes {
		switch {
		case a.Type == unix.NFTA_VERDICT_CODE && len(a.Data) == 4:
			code := int32(uint32(a.Data[0])<<24 | uint32(a.Data[1])<<16 | uint32(a.Data[2])<<8 | uint32(a.Data[3]))
			v = &expr.Verdict{Kind: expr.VerdictKind(code)}
		case a.Type == unix.NFTA_VERDICT_CHAIN && v != nil:
			v.Chain = unix.ByteSliceToString(a.Data)
		}
	}
	return v
}

package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/control"
	"baton/vip"
)

// clock is a time of the day, as sentences have it.
func (s *stage) clock(t time.Duration) string { return time.Unix(0, int64(t)).Format("15:04:05.000") }

// tracked is web with a check of each kind.
func tracked() *config.Config {
	web := webRouter()
	web.Preempt = false
	web.Track = []config.Track{
		track("haproxy", config.Fault, 0, config.Always),
		track("synced", config.Weight, -60, config.Backup),
		{Check: "serves", Effect: config.Fault, When: config.Master, Grace: 4 * time.Minute},
		track("shown", config.ReportOnly, 0, config.Always),
	}
	return pair(web)
}

func (s *stage) web() control.Router {
	s.t.Helper()
	if len(s.status.Routers) != 1 {
		s.t.Fatalf("%d routers are published", len(s.status.Routers))
	}
	return s.snapshot.read(s.now, time.Unix(0, int64(s.now))).Routers[0]
}

// wantWhy compares what explains the role and the priority.
func (s *stage) wantWhy(role, note, reason, sum string) {
	s.t.Helper()
	r := s.web()
	got := []string{r.Role, r.Note, r.Reason, r.Sum}
	if diff := cmp.Diff([]string{role, note, reason, sum}, got); diff != "" {
		s.t.Errorf("why:\n%s", diff)
	}
}

const untouched = "200 = 200 (1st of 2); no check takes anything off"

// One router from its start to FAULT and back: what explains its role, what was kept
// of it, and what befell it.
func TestStatus_AsTheRoleGoes(t *testing.T) {
	s := newStage(t, tracked())
	s.start()
	s.verdict("synced", health.Pass, "")
	s.wantWhy("INIT", "waits for the first answer of haproxy", "waits for the first answer of haproxy", untouched)
	s.advance(2 * time.Second)
	if r := s.web(); !r.Since.Equal(time.Unix(1000, 0)) {
		t.Errorf("INIT since %s, want since the start", r.Since)
	}
	s.verdict("haproxy", health.Pass, "pid 4338")
	s.wantWhy("BACKUP", "nobody was heard yet", "nobody was heard yet", untouched)
	s.hear(peerAddr, 190)
	s.wantWhy("BACKUP", "preempt is false", "b stays master with 190, though 200 is higher: preempt is false", untouched)
	s.verdict("synced", health.Fail, "12s behind")
	s.wantWhy("BACKUP", "190 is higher", "b is master with 190, which is higher than 140", "140 = 200 (1st of 2) - 60 (synced: 12s behind)")
	s.verdict("synced", health.Pass, "")

	left := s.now
	s.hear(peerAddr, 0)
	s.advance(time.Second)
	s.wantWhy("MASTER", "b left", "b left (priority 0) at "+s.clock(left)+"; of those that answered 200 is the highest", untouched)
	s.on("web")
	s.verdict("haproxy", health.Fail, "connection refused")
	s.wantWhy("FAULT", "haproxy fails", "haproxy fails: connection refused", untouched)
	if r := s.web(); r.Parts[0].Addresses[0].State != addressLent {
		t.Errorf("the address is %s, want lent", r.Parts[0].Addresses[0].State)
	}
	s.hear(peerAddr, 190)
	s.advance(2 * time.Second)
	s.event(vip.Off, nil)
	if r := s.web(); r.Parts[0].Addresses[0].State != addressOff || r.Master != "b" || r.MasterPriority != 190 {
		t.Errorf("the address is %s, the master %s (%d); want off, b (190)", r.Parts[0].Addresses[0].State, r.Master, r.MasterPriority)
	}
	s.verdict("haproxy", health.Pass, "pid 5120")
	s.hear(peerAddr, 0)
	s.advance(time.Second)
	s.on("web")
	s.hear(thirdAddr, 250) // it leaves without a word

	var happened []string
	for _, e := range s.kept {
		happened = append(happened, fmt.Sprintf("%s %s: %s: %s", e.Kind, e.Name, e.What, e.Text))
	}
	want := []string{
		"check synced: unknown to pass: 0 runs: ",
		"check haproxy: unknown to pass: 0 runs: pid 4338",
		"router web: INIT to BACKUP: every check that could fault it has answered",
		"check synced: unknown to FAIL: 0 runs: 12s behind",
		"router web: priority 200 to 140: 140 = 200 (1st of 2) - 60 (synced: 12s behind)",
		"check synced: unknown to pass: 0 runs: ",
		"router web: priority 140 to 200: 200 = 200 (1st of 2); no check takes anything off",
		"router web: BACKUP to MASTER: b left (priority 0); skew 219ms",
		"check haproxy: unknown to FAIL: 0 runs: connection refused",
		"router web: MASTER to FAULT: haproxy fails: connection refused; priority 0 sent, 10.0.0.100/24 kept until a successor has it",
		"check haproxy: unknown to pass: 0 runs: pid 5120",
		"router web: FAULT to BACKUP: no reason for FAULT is left; b stays master with 190 (preempt: false)",
		"router web: BACKUP to MASTER: b left (priority 0); skew 219ms",
		"router web: MASTER to BACKUP: 10.0.0.3 is higher: 250 above 200; 10.0.0.100/24 kept until a successor has it",
	}
	if diff := cmp.Diff(want, happened); diff != "" {
		t.Error(diff)
	}
	var history []string
	for _, c := range s.web().History {
		history = append(history, c.From+" to "+c.To+": "+c.Reason)
	}
	want = []string{
		"MASTER to BACKUP: 10.0.0.3 is higher: 250 above 200",
		"BACKUP to MASTER: b left (priority 0); skew 219ms",
		"FAULT to BACKUP: no reason for FAULT is left",
		"MASTER to FAULT: haproxy fails: connection refused",
		"BACKUP to MASTER: b left (priority 0); skew 219ms",
		"INIT to BACKUP: every check that could fault it has answered",
	}
	if diff := cmp.Diff(want, history); diff != "" {
		t.Error(diff)
	}
}

// All that is published of one router.
func TestStatus_Whole(t *testing.T) {
	s := newStage(t, tracked())
	s.start()
	s.verdict("haproxy", health.Pass, "")
	s.verdict("synced", health.Fail, "behind")
	s.advance(500 * time.Millisecond)
	s.hear(peerAddr, 190)
	s.hear(thirdAddr, 250)
	heard, early := s.now, s.web()
	s.advance(time.Second)
	s.hear(thirdAddr, 250)
	wall := func(at time.Duration) time.Time { return time.Unix(0, int64(at)) }
	start := wall(1000 * time.Second)
	want := control.Router{
		Name: "web", Role: "BACKUP", Since: start, Transitions: 1, Priority: 140, Master: "10.0.0.3", MasterPriority: 250, Prefers: "a",
		Why:    "priority 140 = 200 - 60 (synced: behind); backup to 10.0.0.3 (250)",
		Sum:    "140 = 200 (1st of 2) - 60 (synced: behind)",
		Reason: "10.0.0.3 is master with 250, which is higher than 140", Note: "250 is higher",
		Addresses: []string{"10.0.0.100/24"},
		Tracks: []control.Track{
			{Check: "haproxy", Effect: "fault", When: "always"},
			{Check: "synced", Effect: "-60", When: "backup", Counts: true},
			{Check: "serves", Effect: "fault", When: "master", Grace: 4 * time.Minute},
			{Check: "shown", Effect: "report", When: "always"},
		},
		History: []control.Change{{At: start, From: "INIT", To: "BACKUP", Reason: "every check that could fault it has answered"}},
		Parts: []control.Part{{
			Name: "web", Interface: "eth0", Family: "IPv4", VRID: 51, Version: 3, Interval: time.Second, Source: "10.0.0.1",
			Addresses: []control.Address{{Address: "10.0.0.100/24", State: "off"}},
			Peers: []control.Peer{
				{Node: "b", Address: "10.0.0.2", Priority: 190, LastHeard: wall(heard)},
				{Address: "10.0.0.3", Priority: 250, LastHeard: wall(s.now)},
			},
		}},
	}
	if diff := cmp.Diff(want, s.web()); diff != "" {
		t.Error(diff)
	}
	if at := early.Parts[0].Peers[1].LastHeard; !at.Equal(wall(heard)) {
		t.Errorf("who asked before has what was heard after it, at %s", at)
	}
	if s.status.Node != "a" || s.status.Version != Version() {
		t.Errorf("%+v", s.status)
	}
}

// A peer that was never heard stands there with the address that it would speak from.
func TestStatus_PeerNeverHeard(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	r := s.web()
	if diff := cmp.Diff([]control.Peer{{Node: "b", Address: "10.0.0.2"}}, r.Parts[0].Peers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(control.Address{Address: "10.0.0.100/24", State: "held", Announced: 5, LastAnnounced: time.Unix(0, int64(s.now))}, r.Parts[0].Addresses[0]); diff != "" {
		t.Error(diff)
	}
	if want := "heard nobody for 3.219s"; r.Note != want || r.Reason != want {
		t.Errorf("%q and %q, want %q", r.Note, r.Reason, want)
	}
}

// Groups in which nothing has changed are shared by two snapshots, and advertisements
// cost none.
func TestStatus_OnlyWhatHasChanged(t *testing.T) {
	db := webRouter()
	db.Name, db.VRID = "db", 52
	db.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.101/24"), Advertise: true}}
	db.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)}
	s := newStage(t, pair(webRouter(), db))
	s.start()
	s.hear(thirdAddr, 250)
	before := s.snapshot
	if got := []string{before.groups[0].router.Name, before.groups[1].router.Name}; !slices.Equal(got, []string{"db", "web"}) {
		t.Fatalf("the routers are %v", got)
	}
	s.advance(time.Second)
	s.hear(thirdAddr, 250)
	if s.snapshot != before {
		t.Error("an advertisement that says nothing new is a new status")
	}
	s.verdict("haproxy", health.Pass, "")
	after := s.snapshot
	if after == before || after.groups[1] != before.groups[1] || after.groups[0] == before.groups[0] {
		t.Error("want a new db and the same web")
	}
	if before.groups[0].router.Role != "INIT" || after.groups[0].router.Role != "BACKUP" {
		t.Errorf("db: %s, then %s", before.groups[0].router.Role, after.groups[0].router.Role)
	}
}

// Whoever forges sources gets neither memory nor a status for each, and a peer that is
// heard stays.
func TestStatus_ForgedPeers(t *testing.T) {
	s := newStage(t, pair())
	s.master() // a backup follows whom it hears
	published := 0
	last := s.snapshot
	for i := range 200 {
		s.now += time.Millisecond
		s.hear(peerAddr, 190)
		s.hear(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 90)
		if s.snapshot != last {
			published, last = published+1, s.snapshot
		}
		if peers := s.web().Parts[0].Peers; !slices.ContainsFunc(peers, func(p control.Peer) bool { return p.Node == "b" && p.Priority == 190 }) {
			t.Fatalf("b is not among %v", peers)
		}
	}
	peers := s.web().Parts[0].Peers
	if len(peers) != maxHeard {
		t.Errorf("%d peers: %v", len(peers), peers)
	}
	if published > 20 {
		t.Errorf("%d new statuses", published)
	}
}

// What befalls addresses and routes is kept, and is a problem while it lasts.
func TestStatus_AddressesAndRoutes(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.kept = nil
	web := s.router("web")
	event := func(e vip.Event) {
		e.Router, e.Seq = "web", web.holds
		s.n.addressEvent(s.now, e)
	}
	event(vip.Event{Kind: vip.Repaired, Address: virtual, After: 2 * time.Millisecond})
	event(vip.Event{Kind: vip.Failed, Address: virtual, Err: errors.New("permission denied")})
	if a := s.web().Parts[0].Addresses[0]; a.State != "off" || a.Error != "permission denied" {
		t.Errorf("%+v", a)
	}
	event(vip.Event{Kind: vip.Recovered, Address: virtual})
	event(vip.Event{Kind: vip.Failed, Object: "default via 10.0.0.254", Err: errors.New("network is unreachable")})
	if got, want := s.web().Parts[0].Failed, []string{"default via 10.0.0.254: network is unreachable"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	event(vip.Event{Kind: vip.Recovered, Object: "default via 10.0.0.254"})
	if r := s.web().Parts[0]; len(r.Failed) > 0 || r.Addresses[0].Error != "" {
		t.Errorf("it is mended: %+v", r)
	}
	event(vip.Event{Kind: vip.Repaired, Object: "default via 10.0.0.254", After: time.Millisecond})
	event(vip.Event{Kind: vip.Removed, Address: virtual})
	event(vip.Event{Kind: vip.Contested, Address: virtual, Err: errors.New("removed 12 times within 1s")})
	var got []string
	for _, e := range s.kept {
		got = append(got, string(e.Kind)+" "+e.Name+": "+e.What+": "+e.Text)
	}
	want := []string{
		"address web: removed by others: 10.0.0.100/24 put back and announced after 2ms; stays MASTER",
		"address web: not in place: 10.0.0.100/24 permission denied",
		"address web: in place: 10.0.0.100/24 after a failure",
		"address web: not in place: default via 10.0.0.254 network is unreachable",
		"address web: in place: default via 10.0.0.254 after a failure",
		"address web: removed by others: default via 10.0.0.254 put back after 1ms",
		"address web: removed by others: 10.0.0.100/24 stays away, as repair is false",
		"address web: contested: 10.0.0.100/24 is removed again and again: removed 12 times within 1s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEvents_Hook(t *testing.T) {
	any4 := []string{"/etc/baton/notify.sh", "INSTANCE", "web", "MASTER", "200"}
	for _, test := range []struct {
		list string
		argv []string
		r    command.Result
		want string
	}{
		{"any", any4, command.Result{Took: 41 * time.Millisecond}, "web any: exit 0 after 41ms: INSTANCE web MASTER 200"},
		{"master", []string{"/usr/bin/logger", "-t", "baton"}, command.Result{Took: time.Second}, "web master: exit 0 after 1s: logger"},
		{"fault", []string{"/etc/x.sh"}, command.Result{Exit: 3, Output: []byte("no\n"), Took: time.Second}, "web fault: exit 3 after 1s: x.sh: exit 3: no"},
		{"any", any4, command.Result{TimedOut: true, Timeout: time.Second, Took: time.Second}, "web any: timed out after 1s: INSTANCE web MASTER 200: timed out after 1s"},
		{"stop", []string{"/etc/x.sh"}, command.Result{Err: errors.New("no such file"), Took: 0}, "web stop: failed after 0s: x.sh: no such file"},
	} {
		e := newEvents()
		e.noteHook("web", test.list, test.argv, test.r)
		list, _ := e.after(0)
		got := list.Events[0]
		if text := got.Name + ": " + got.What + ": " + got.Text; got.Kind != control.HookEvent || text != test.want {
			t.Errorf("%s %q, want %q", got.Kind, text, test.want)
		}
	}
}

func TestOrdinal(t *testing.T) {
	var got []string
	for _, n := range []int{1, 2, 3, 4, 11, 12, 13, 21, 102, 113} {
		got = append(got, ordinal(n))
	}
	if want := "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 113th"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// Two masters, and a master whose priority fell and whom nobody relieved, are kept as well.
func TestStatus_EventsOfAMaster(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("haproxy", config.Weight, -60, config.Always)}
	s := newStage(t, pair(web))
	s.master()
	s.kept = nil
	s.hear(peerAddr, 190)
	s.advance(5 * time.Second)
	s.verdict("haproxy", health.Fail, "refused")
	s.advance(5 * time.Second)
	var got []string
	for _, e := range s.kept {
		if e.Kind == control.RouterEvent {
			got = append(got, e.What+": "+e.Text)
		}
	}
	want := []string{
		"two masters: b was master as well for 0s, with 190: this node won and announced its addresses again",
		"priority 200 to 140: 140 = 200 (1st of 2) - 60 (haproxy: refused)",
		"stays MASTER: its priority fell, and nobody took over within 449ms",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A group that takes the place of another one is published in its stead.
func TestStatus_OtherGroups(t *testing.T) {
	db := webRouter()
	db.Name, db.VRID, db.Addresses = "db", 52, nil
	s := newStage(t, pair(webRouter(), db))
	s.start()
	zeta := s.n.groups[1]
	zeta.name = "zeta" // as a reload would: another one, and as many as before
	other := *zeta
	s.n.groups[1] = &other
	s.n.groups[0].touch()
	s.n.settle(s.now)
	if got := []string{s.status.Routers[0].Name, s.status.Routers[1].Name}; !slices.Equal(got, []string{"web", "zeta"}) {
		t.Errorf("%v are published", got)
	}
}

package record

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/trial"
	"baton/vip"
)

var head = Head{
	Boot: "boot", PID: 4338, Version: "1.0.0", Node: "a", Configuration: "3f9a2c17", Started: time.Unix(1e9, 0).UTC(),
	Elections: []Election{
		{Name: "web", Routers: []Router{{
			Interface: "eth0", VRID: 51, Interval: time.Second, Phase: time.Millisecond, Patience: 3 * time.Second,
			Addresses: vip.Router{
				Name: "web", Interface: "eth0", Lifetime: time.Minute,
				Addresses:  []vip.Address{{Prefix: netip.MustParsePrefix("10.0.0.100/24"), Repair: true}},
				VirtualMAC: &vip.VirtualMAC{Name: "vrrp.51", MAC: [6]byte{0, 0, 0x5e, 0, 1, 51}},
				Routes:     []vip.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.1")}},
				Rules:      []vip.Rule{{From: netip.MustParsePrefix("10.0.0.0/24"), Table: 100}},
			},
		}}},
		{Name: "db"},
	},
	Checks: []string{"web", "haproxy"}, // a name that an election has as well
}

var master = State{
	Role: "MASTER", Since: 5 * time.Second, Takeover: "silence", PreviousMaster: "b",
	Hold: health.HoldState{FailedAt: time.Second, Wait: time.Minute, Early: 1, Vacant: true, Used: true}, Failure: "osc died", Failed: true,
	Services: Services{Run: true, Served: true, AtMark: true},
}

// written makes a record, and returns its folder and what was logged.
func written(t *testing.T, then func(w *Writer)) (dir string, log *trial.Log) {
	t.Helper()
	dir, log = t.TempDir(), &trial.Log{}
	w := New(dir, slog.New(slog.NewTextHandler(log, nil)))
	w.Begin(head, 7*time.Second)
	then(w)
	w.Close(false)
	return dir, log
}

func TestRecord_RoundTrip(t *testing.T) {
	forced := Check{
		Reading: health.Reading{Verdict: health.Pass, Number: 3, Numbered: true}, Text: "pid 4338", Hint: "look", Since: time.Unix(1e9, 0).UTC(),
		Forced: health.Force{Verdict: health.Pass, Until: time.Unix(2e9, 0).UTC(), Reason: "majority is lost", By: "root"},
	}
	dir, log := written(t, func(w *Writer) {
		w.SetState("web", State{Role: "BACKUP"})
		w.SetTold("web", "BACKUP")
		w.SetState("web", master)
		w.SetCheck("web", Check{Reading: health.Reading{Verdict: health.Fail}})
		w.SetCheck("haproxy", forced)
		w.SetState("nobody", master)
		w.Beat(8 * time.Second)
		w.Leave(9 * time.Second)
	})
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	told := master
	told.Told = "BACKUP"
	want := &Record{
		Head: head, Beat: 9 * time.Second, Leaving: true,
		States: map[string]State{"web": told},
		Known:  map[string]Check{"web": {Reading: health.Reading{Verdict: health.Fail}}, "haproxy": forced},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if log.String() != "" {
		t.Errorf("logged %s", log)
	}
	if info, err := os.Stat(filepath.Join(dir, fileName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// What was set counts also when the file is written anew, for what it has then.
func TestRecord_BeginAgain(t *testing.T) {
	dir, _ := written(t, func(w *Writer) {
		w.SetState("web", master)
		w.SetState("db", State{Role: "FAULT"})
		fewer := head
		fewer.Elections = head.Elections[1:]
		w.Begin(fewer, 10*time.Second)
		w.SetState("web", State{Role: "BACKUP"})
		w.Succeed(11 * time.Second)
	})
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]State{"db": {Role: "FAULT"}}, r.States); diff != "" || !r.Succeeded || r.Leaving {
		t.Errorf("succeeded %t, leaving %t (-want +got):\n%s", r.Succeeded, r.Leaving, diff)
	}
}

// However long the texts are, a slot has room for the rest.
func TestRecord_LongTexts(t *testing.T) {
	long := strings.Repeat("\x01", 5000) // each becomes six bytes
	dir, log := written(t, func(w *Writer) {
		s := master
		s.Failure, s.PreviousMaster = long, long
		w.SetState("web", s)
		w.SetCheck("web", Check{Reading: health.Reading{Verdict: health.Pass}, Text: long, Hint: long, Forced: health.Force{Reason: long, By: long}})
		w.SetState("db", State{Failure: strings.Repeat("ä", 200)})
	})
	r, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if r.States["web"].Role != "MASTER" || r.Known["web"].Verdict != health.Pass || len(r.Torn) > 0 || log.String() != "" {
		t.Errorf("%+v, %q, logged %s", r.States["web"], r.Torn, log)
	}
	if got := r.States["db"].Failure; !strings.HasPrefix(got, strings.Repeat("ä", 50)) {
		t.Errorf("%q", got)
	}
}

// Wherever a write is cut off, the one before it counts; what is damaged as a whole is refused.
func TestRecord_Torn(t *testing.T) {
	dir, _ := written(t, func(w *Writer) {
		w.SetState("web", State{Role: "BACKUP"})
		w.SetState("web", State{Role: "MASTER"})
	})
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	web := len(whole) - 4*slotSize // db and the checks come after it
	damage := func(at ...int) *Record {
		b := append([]byte(nil), whole...)
		for _, i := range at {
			b[i] ^= 0x40
		}
		r, err := parse(b)
		if err != nil && !errors.Is(err, ErrTorn) {
			t.Fatal(err)
		}
		return r
	}
	newer := web // the second write went to the copy with an even number
	if r := damage(newer + slotHead + 3); r == nil || r.States["web"].Role != "BACKUP" {
		t.Errorf("with the newer copy damaged: %+v", r)
	}
	if r := damage(newer+copySize+slotHead+3, newer+2); r == nil || len(r.States) > 0 || !cmp.Equal(r.Torn, []string{"web"}) {
		t.Errorf("with both copies damaged: %+v", r)
	}
	for i := range slotsAt(int(whole[8]) | int(whole[9])<<8) {
		if r := damage(i); r != nil && i < fileHead+(int(whole[8])|int(whole[9])<<8) {
			t.Errorf("byte %d of the head is damaged, and nobody notices", i)
		}
	}
	for n := range len(whole) {
		if _, err := parse(whole[:n]); !errors.Is(err, ErrTorn) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestRecord_Absent(t *testing.T) {
	if _, err := Read(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	dir, _ := written(t, func(*Writer) {})
	if err := Remove(dir); err != nil {
		t.Error(err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("again: %v", err)
	}
}

// What cannot be written costs one line, and is mended later.
func TestRecord_CannotBeWritten(t *testing.T) {
	dir, log := filepath.Join(t.TempDir(), "run"), &trial.Log{}
	w := New(dir, slog.New(slog.NewTextHandler(log, nil)))
	w.Mend(0) // before there is anything
	w.Begin(head, time.Second)
	w.SetState("web", master)
	w.Beat(2 * time.Second)
	w.Mend(3 * time.Second)
	if got := strings.Count(log.String(), "the record cannot be written"); got != 1 {
		t.Errorf("said %d times:\n%s", got, log)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.Mend(4 * time.Second)
	w.Mend(5 * time.Second) // nothing to mend
	r, err := Read(dir)
	if err != nil || r.Beat != 4*time.Second || r.States["web"].Role != "MASTER" {
		t.Errorf("%+v, %v", r, err)
	}
	if !strings.Contains(log.String(), "can be written again") {
		t.Error(log)
	}
	w.Close(true)
	w.Mend(6 * time.Second)
	w.SetState("web", master)
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
}

func TestRecord_BeatAllocatesNothing(t *testing.T) {
	written(t, func(w *Writer) {
		if n := testing.AllocsPerRun(100, func() { w.Beat(time.Second) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	if _, err := KeptConfiguration(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	want := []config.SourceFile{{Name: "/etc/baton/baton.yaml", Text: []byte("include: [conf.d/*.yaml]\n")}, {Name: "/etc/baton/conf.d/a.yaml", Text: []byte{0, 255}}}
	for range 2 {
		if err := KeepConfiguration(dir, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := KeptConfiguration(dir)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, broken := range []string{"", "[]", "[{", "{}"} {
		if err := os.WriteFile(filepath.Join(dir, configurationName), []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if files, err := KeptConfiguration(dir); err == nil {
			t.Errorf("%q: %v", broken, files)
		}
	}
}

// Whatever is in the file, it is a record or refused.
func FuzzRecord(f *testing.F) {
	dir := f.TempDir()
	w := New(dir, slog.New(slog.DiscardHandler))
	w.Begin(head, 7*time.Second)
	w.SetState("web", master)
	w.SetCheck("haproxy", Check{Reading: health.Reading{Verdict: health.Pass}})
	w.Close(false)
	whole, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:fileHead])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if (r == nil) == (err == nil) {
			t.Fatalf("%+v, %v", r, err)
		}
		if err != nil && !errors.Is(err, ErrTorn) {
			t.Fatal(err)
		}
	})
}

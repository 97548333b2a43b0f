package role

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"baton/internal/command"
)

func TestWords_Replace(t *testing.T) {
	networks := map[string]string{"lb2 cluster": "172.20.1.12", "lb1 storage-mgmt": "172.19.1.11", "lb1 v6": "2001:db8::1"}
	v := newWords(Router{Name: "web", Node: "lb1"}, func(node, network string) (string, bool) {
		address, ok := networks[node+" "+network]
		return address, ok
	})
	known := Transition{To: Fault, Master: "lb2", PreviousMaster: "lb1"}
	tests := []struct {
		word string
		t    Transition
		want string
	}{
		{"plain", known, "plain"},
		{"", known, ""},
		{"$router", known, "web"},
		{"$role", known, "FAULT"},
		{"--to=$master", known, "--to=lb2"},
		{"$master,$previous_master", known, "lb2,lb1"},
		{"$master.cluster", known, "172.20.1.12"},
		{"http://$master.cluster:8090/$router?was=$previous_master", known, "http://172.20.1.12:8090/web?was=lb1"},
		{"[$previous_master.v6]:80", known, "[2001:db8::1]:80"},
		{"$previous_master.storage-mgmt/24", known, "172.19.1.11/24"},
		{"$master.", known, "lb2."},
		{"$master.cluster-", known, "172.20.1.12-"},
		{"$master.7z", known, "lb2.7z"},
		{"$master2", known, "$master2"},
		{"${master}", known, "${master}"},
		{"$role.log", known, "FAULT.log"},
		{"/run/$router-$role.state", known, "/run/web-FAULT.state"},
		{"$$", known, "$"},
		{"$$router", known, "$router"},
		{"$$$router", known, "$web"},
		{"5$", known, "5$"},
		{"$nobody", known, "$nobody"},
		{"$master", Transition{To: Backup}, ""},
		{"-h$master.cluster", Transition{To: Backup}, "-h"},
		{"$master.cluster", Transition{To: Backup, Master: "10.0.0.7"}, ""},
		{"$master", Transition{To: Backup, Master: "10.0.0.7"}, "10.0.0.7"},
		{"$master", Transition{To: Backup, Master: "evil\n\x00name"}, "evil  name"},
	}
	for _, tt := range tests {
		t.Run(tt.word, func(t *testing.T) {
			if got, _ := v.replace(tt.word, tt.t); got != tt.want {
				t.Errorf("replace %q: %q, want %q", tt.word, got, tt.want)
			}
		})
	}
}

func TestWords_ReplaceWithoutNodes(t *testing.T) {
	v := newWords(Router{Name: "web"}, nil)
	if got, _ := v.replace("<$master.cluster>", Transition{Master: "10.0.0.7"}); got != "<>" {
		t.Errorf("replaced by %q, want <>", got)
	}
}

func TestWords_Missing(t *testing.T) {
	v := newWords(Router{Name: "web"}, func(node, network string) (string, bool) { return "172.20.1.12", node == "lb2" && network == "cluster" })
	for _, tt := range []struct {
		argv []string
		t    Transition
		want string
	}{
		{[]string{"follow", "$master", "$master.cluster"}, Transition{Master: "lb2"}, ""},
		{[]string{"follow", "--of=$master.cluster:6379", "$master.storage"}, Transition{Master: "10.0.0.7"}, "$master.cluster"},
		{[]string{"follow", "$master"}, Transition{Master: "10.0.0.7"}, ""},
		{[]string{"follow", "$role$master"}, Transition{}, "$master"},
		{[]string{"follow", "$previous_master.v6/64"}, Transition{Master: "lb2"}, "$previous_master.v6"},
		{[]string{"follow", "$$master"}, Transition{}, ""},
		{[]string{"follow"}, Transition{}, ""},
	} {
		if _, got := v.argv(tt.argv, tt.t); got != tt.want {
			t.Errorf("missing in %q: %q, want %q", tt.argv, got, tt.want)
		}
	}
}

// environments runs transitions through a queue and returns what its one hook got.
func environments(t *testing.T, own []string, transitions ...Transition) [][]string {
	t.Helper()
	var got [][]string
	hook := []Hook{{Argv: []string{"hook"}, Env: own}}
	synctest.Test(t, func(*testing.T) {
		run := func(_ context.Context, _ Hook, _, env []string) command.Result {
			got = append(got, env)
			return command.Result{}
		}
		q := New(Router{
			Name: "web", Node: "lb1", Interfaces: []string{"eth0"}, VRIDs: []uint8{51}, Addresses: []string{"10.0.0.100/24", "2001:db8::100/64"},
			Hooks: Hooks{Any: hook, Reassert: hook},
		}, run, quiet(), nil)
		for _, tr := range transitions {
			q.Tell(tr)
			synctest.Wait()
		}
	})
	return got
}

func TestQueue_Environment(t *testing.T) {
	got := environments(t, []string{"TOKEN=x", "BATON_STATE=forged"},
		Transition{To: Backup, From: Init, Priority: 190, Reason: "every check has answered", Master: "lb2", MasterAddress: "10.0.0.12"},
		Transition{To: Master, From: Backup, Priority: 200, Reason: "lb2 left:\nskew\x07 258ms\x00", Master: "lb1", MasterAddress: "10.0.0.11",
			PreviousMaster: "lb2", Takeover: "handover"},
		Transition{To: Master, From: Master, Reassert: true, Priority: 200, Reason: "lb2 beaten", Master: "lb1", MasterAddress: "10.0.0.11"})
	want := [][]string{{
		"TOKEN=x", "BATON_STATE=forged",
		"BATON_NODE=lb1", "BATON_ROUTER=web", "BATON_STATE=BACKUP", "BATON_PREVIOUS_STATE=INIT", "BATON_PRIORITY=190",
		"BATON_REASON=every check has answered", "BATON_INTERFACE=eth0", "BATON_VRID=51",
		"BATON_ADDRESSES=10.0.0.100/24 2001:db8::100/64", "BATON_MASTER=lb2", "BATON_MASTER_ADDRESS=10.0.0.12",
		"BATON_PREVIOUS_MASTER=", "BATON_TAKEOVER=",
	}, {
		"TOKEN=x", "BATON_STATE=forged",
		"BATON_NODE=lb1", "BATON_ROUTER=web", "BATON_STATE=MASTER", "BATON_PREVIOUS_STATE=BACKUP", "BATON_PRIORITY=200",
		"BATON_REASON=lb2 left: skew  258ms", "BATON_INTERFACE=eth0", "BATON_VRID=51",
		"BATON_ADDRESSES=10.0.0.100/24 2001:db8::100/64", "BATON_MASTER=lb1", "BATON_MASTER_ADDRESS=10.0.0.11",
		"BATON_PREVIOUS_MASTER=lb2", "BATON_TAKEOVER=handover",
	}, {
		"TOKEN=x", "BATON_STATE=forged",
		"BATON_NODE=lb1", "BATON_ROUTER=web", "BATON_STATE=MASTER", "BATON_PREVIOUS_STATE=MASTER", "BATON_PRIORITY=200",
		"BATON_REASON=lb2 beaten", "BATON_INTERFACE=eth0", "BATON_VRID=51",
		"BATON_ADDRESSES=10.0.0.100/24 2001:db8::100/64", "BATON_MASTER=lb1", "BATON_MASTER_ADDRESS=10.0.0.11",
		"BATON_PREVIOUS_MASTER=", "BATON_TAKEOVER=",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environments (-want +got):\n%s", diff)
	}
}

// keepalived's groups have no priority, and a script that was written for them
// may count on the 0.
func TestQueue_WordsOfAGroup(t *testing.T) {
	q := New(Router{Name: "edge", Group: true, Interfaces: []string{"eth0", "eth1"}, VRIDs: []uint8{10, 20}}, nil, quiet(), nil)
	got := round{t: Transition{To: Master, Priority: 200}, words: q.words}.argv(job{list: "any", hook: Hook{Argv: []string{"hook", "$router"}}})
	if diff := cmp.Diff([]string{"hook", "edge", "GROUP", "edge", "MASTER", "0"}, got); diff != "" {
		t.Errorf("words (-want +got):\n%s", diff)
	}
	env := strings.Join(q.words.environment(nil, Transition{To: Master, Priority: 200}), "\n")
	for _, want := range []string{"BATON_ROUTER=edge", "BATON_PRIORITY=200", "BATON_INTERFACE=eth0 eth1", "BATON_VRID=10 20"} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("%s is not in the environment:\n%s", want, env)
		}
	}
}

func TestQueue_EnvironmentOfTheFirstState(t *testing.T) {
	got := environments(t, nil, Transition{To: Fault})
	if !strings.Contains(strings.Join(got[0], "\n"), "\nBATON_PREVIOUS_STATE=INIT\n") {
		t.Errorf("the first state comes from something else than INIT: %q", got[0])
	}
}

// A script that unmounts when it comes from MASTER must learn that it does, although the router was something else
// in between that the hooks never heard of.
func TestQueue_PreviousStateIsTheOneHooksHeard(t *testing.T) {
	got := environments(t, nil, to(Master), to(Init), Transition{To: Fault, From: Init})
	if !strings.Contains(strings.Join(got[1], "\n"), "\nBATON_PREVIOUS_STATE=MASTER\n") {
		t.Errorf("FAULT comes from something else than MASTER: %q", got[1])
	}
}

func TestPrintable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "in")
		got := printable(in)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u202e' }); i >= 0 {
			t.Fatalf("%q has a control character at %d", got, i)
		}
	})
}

func TestTruncate(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aäb", 2, "a"}, {"aäb", 3, "aä"}, {"ä", 1, ""},
	} {
		if got := truncate(tt.in, tt.limit); got != tt.want {
			t.Errorf("truncate %q to %d: %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func TestQueue_LongReason(t *testing.T) {
	got := environments(t, nil, Transition{To: Fault, Reason: strings.Repeat("x", 200_000)})
	for _, v := range got[0] {
		if len(v) > maxReason+20 {
			t.Errorf("%.20s... has %d bytes", v, len(v))
		}
	}
}

package health

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestEvaluate(t *testing.T) {
	const (
		u = Unknown
		p = Pass
		f = Fail
	)
	master := State{Master: true, Since: 100 * time.Second}
	backup := State{Since: 100 * time.Second}
	fault := Effect{Kind: Fault}
	weight := func(w int) Effect { return Effect{Kind: Weight, Weight: w} }
	when := func(e Effect, w When, grace time.Duration) Effect { e.When, e.Grace = w, grace; return e }

	tests := map[string]struct {
		base    int
		effect  Effect
		verdict Verdict
		state   State
		now     time.Duration
		want    Outcome
	}{
		"fault passes":   {100, fault, p, backup, 0, Outcome{Priority: 100}},
		"fault fails":    {100, fault, f, backup, 0, Outcome{Priority: 100, Faults: []string{"c"}}},
		"fault unknown":  {100, fault, u, backup, 0, Outcome{Priority: 100, Waiting: []string{"c"}}},
		"report fails":   {100, Effect{Kind: Report}, f, backup, 0, Outcome{Priority: 100}},
		"report unknown": {100, Effect{Kind: Report}, u, backup, 0, Outcome{Priority: 100}},

		"negative passes":  {200, weight(-60), p, backup, 0, Outcome{Priority: 200}},
		"negative fails":   {200, weight(-60), f, backup, 0, Outcome{Priority: 140, Terms: []Term{{"c", -60}}}},
		"negative unknown": {200, weight(-60), u, backup, 0, Outcome{Priority: 200}},
		"positive passes":  {200, weight(20), p, backup, 0, Outcome{Priority: 220, Terms: []Term{{"c", 20}}}},
		"positive fails":   {200, weight(20), f, backup, 0, Outcome{Priority: 200}},
		"positive unknown": {200, weight(20), u, backup, 0, Outcome{Priority: 200}},
		"weight 0 fails":   {200, weight(0), f, backup, 0, Outcome{Priority: 200}},

		"not below 1":         {100, weight(-200), f, backup, 0, Outcome{Priority: 1, Terms: []Term{{"c", -200}}}},
		"not above 254":       {250, weight(20), p, backup, 0, Outcome{Priority: 254, Terms: []Term{{"c", 20}}}},
		"254 is not 255":      {254, weight(1), p, backup, 0, Outcome{Priority: 254, Terms: []Term{{"c", 1}}}},
		"owner stays 255":     {255, weight(-60), f, backup, 0, Outcome{Priority: 255, Terms: []Term{{"c", -60}}}},
		"owner can be faulty": {255, fault, f, backup, 0, Outcome{Priority: 255, Faults: []string{"c"}}},

		"master only, as master":      {100, when(fault, Master, 0), f, master, 0, Outcome{Priority: 100, Faults: []string{"c"}}},
		"master only, as backup":      {100, when(fault, Master, 0), f, backup, 0, Outcome{Priority: 100}},
		"master only holds no INIT":   {100, when(fault, Master, 0), u, backup, 0, Outcome{Priority: 100}},
		"backup only, as backup":      {100, when(fault, Backup, 0), f, backup, 0, Outcome{Priority: 100, Faults: []string{"c"}}},
		"backup only, as master":      {100, when(fault, Backup, 0), f, master, 0, Outcome{Priority: 100}},
		"backup only holds INIT":      {100, when(fault, Backup, 0), u, backup, 0, Outcome{Priority: 100, Waiting: []string{"c"}}},
		"weight as backup, as backup": {200, when(weight(-100), Backup, 0), f, backup, 0, Outcome{Priority: 100, Terms: []Term{{"c", -100}}}},
		"weight as backup, as master": {200, when(weight(-100), Backup, 0), f, master, 0, Outcome{Priority: 200}},
		"bonus as master":             {200, when(weight(10), Master, 0), p, master, 0, Outcome{Priority: 210, Terms: []Term{{"c", 10}}}},

		"within grace":             {100, when(fault, Master, 240*time.Second), f, master, 339 * time.Second, Outcome{Priority: 100, Next: 340 * time.Second}},
		"grace has ended":          {100, when(fault, Master, 240*time.Second), f, master, 340 * time.Second, Outcome{Priority: 100, Faults: []string{"c"}}},
		"well within grace":        {100, when(fault, Master, 240*time.Second), p, master, 339 * time.Second, Outcome{Priority: 100}},
		"grace, not the role":      {100, when(fault, Master, 240*time.Second), f, backup, 120 * time.Second, Outcome{Priority: 100}},
		"grace since backup":       {200, when(weight(-100), Backup, 10*time.Second), f, backup, 105 * time.Second, Outcome{Priority: 200, Next: 110 * time.Second}},
		"grace of always":          {100, when(fault, Always, 10*time.Second), f, master, 105 * time.Second, Outcome{Priority: 100, Next: 110 * time.Second}},
		"no grace out of the role": {100, when(fault, Always, 10*time.Second), f, backup, 105 * time.Second, Outcome{Priority: 100, Faults: []string{"c"}}},
		"unknown holds INIT still": {100, when(fault, Always, 10*time.Second), u, backup, 105 * time.Second, Outcome{Priority: 100, Waiting: []string{"c"}}},
		"bonus within grace":       {200, when(weight(10), Master, 10*time.Second), p, master, 105 * time.Second, Outcome{Priority: 200, Next: 110 * time.Second}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.want.Next == 0 {
				tt.want.Next = Never
			}
			got := Evaluate(tt.base, []Track{{"c", tt.effect}}, func(string) Reading { return Reading{Verdict: tt.verdict} }, tt.state, tt.now)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEvaluate_Several(t *testing.T) {
	tracks := []Track{
		{"haproxy", Effect{Kind: Fault}},
		{"galera", Effect{Kind: Fault}},
		{"link", Effect{Kind: Weight, Weight: -150}},
		{"fast", Effect{Kind: Weight, Weight: 20}},
		{"slow", Effect{Kind: Weight, Weight: -100}},
		{"keystone", Effect{Kind: Report}},
		{"majority", Effect{Kind: Fault}},
		{"osc", Effect{Kind: Fault, When: Master, Grace: 30 * time.Second}},
		{"osc-db", Effect{Kind: Fault, When: Master, Grace: 20 * time.Second}},
		{"osc-ui", Effect{Kind: Fault, When: Master, Grace: 40 * time.Second}},
	}
	verdicts := map[string]Verdict{"haproxy": Fail, "link": Fail, "fast": Pass, "slow": Fail, "keystone": Fail, "majority": Fail, "osc": Fail, "osc-db": Fail, "osc-ui": Fail}
	got := Evaluate(200, tracks, func(c string) Reading { return Reading{Verdict: verdicts[c]} }, State{Master: true, Since: time.Second}, 2*time.Second)
	want := Outcome{
		Priority: 1, // 200 - 150 + 20 - 100 is -30
		Faults:   []string{"haproxy", "majority"},
		Waiting:  []string{"galera"},
		Terms:    []Term{{"link", -150}, {"fast", 20}, {"slow", -100}},
		Next:     21 * time.Second,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEvaluate_Number(t *testing.T) {
	numbered := func(n int) Reading { return Reading{Verdict: Pass, Number: n, Numbered: true} }
	tests := map[string]struct {
		weight  int
		reading Reading
		want    Outcome
	}{
		"takes off":        {-10, numbered(3), Outcome{Priority: 70, Terms: []Term{{"c", -30}}}},
		"puts on":          {10, numbered(3), Outcome{Priority: 130, Terms: []Term{{"c", 30}}}},
		"negative number":  {10, numbered(-3), Outcome{Priority: 70, Terms: []Term{{"c", -30}}}},
		"nought":           {-10, numbered(0), Outcome{Priority: 100}},
		"no number at all": {-10, Reading{Verdict: Fail, Numbered: true}, Outcome{Priority: 100}},
		"out of all range": {253, numbered(1 << 62), Outcome{Priority: 254, Terms: []Term{{"c", 254}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.want.Next = Never
			got := Evaluate(100, []Track{{"c", Effect{Kind: Weight, Weight: tt.weight}}}, func(string) Reading { return tt.reading }, State{}, 0)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The outcome depends on the verdicts alone, not on how they came about: what a
// weight took off, past the lowest priority even, comes back exactly.
func TestEvaluate_NoMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "checks")
		var tracks []Track
		for i := range n {
			tracks = append(tracks, Track{fmt.Sprint(i), Effect{
				Kind:   EffectKind(rapid.IntRange(0, 2).Draw(t, "kind")),
				Weight: rapid.IntRange(-253, 253).Draw(t, "weight"),
				When:   When(rapid.IntRange(0, 2).Draw(t, "when")),
			}})
		}
		base := rapid.IntRange(1, 255).Draw(t, "base")
		verdicts := map[string]Verdict{}
		state := State{}
		evaluate := func(tracks []Track) Outcome {
			o := Evaluate(base, tracks, func(c string) Reading { return Reading{Verdict: verdicts[c]} }, state, 0)
			if o.Priority < 1 || o.Priority > 255 || (o.Priority == 255) != (base == 255) {
				t.Fatalf("priority %d of base %d", o.Priority, base)
			}
			sum := base
			for _, term := range o.Terms {
				sum += term.Amount
			}
			if base < 255 && o.Priority != min(max(sum, 1), 254) {
				t.Fatalf("priority %d, terms sum to %d", o.Priority, sum)
			}
			return o
		}
		for _, tr := range tracks {
			verdicts[tr.Check] = Verdict(rapid.IntRange(0, 2).Draw(t, "verdict"))
		}
		before := evaluate(tracks)
		// Verdicts go away and come back in another order, the role too.
		were := map[string]Verdict{}
		for c, v := range verdicts {
			were[c] = v
		}
		for range 10 {
			verdicts[fmt.Sprint(rapid.IntRange(0, n-1).Draw(t, "check"))] = Verdict(rapid.IntRange(0, 2).Draw(t, "verdict"))
			state.Master = rapid.Bool().Draw(t, "master")
			evaluate(tracks)
		}
		for _, i := range rapid.Permutation(tracks).Draw(t, "order") {
			verdicts[i.Check] = were[i.Check]
			state.Master = false
			evaluate(tracks)
		}
		if diff := cmp.Diff(before, evaluate(tracks)); diff != "" {
			t.Fatalf("(-before +after):\n%s", diff)
		}
		if o := evaluate(rapid.Permutation(tracks).Draw(t, "tracks")); o.Priority != before.Priority || len(o.Faults) != len(before.Faults) || len(o.Waiting) != len(before.Waiting) {
			t.Fatalf("in another order: %+v, not %+v", o, before)
		}
	})
}

func TestStrings(t *testing.T) {
	got := []string{Unknown.String(), Pass.String(), Fail.String(), Verdict(9).String(), Always.String(), Master.String(), Backup.String(), When(9).String(), Fault.String(), Weight.String(), Report.String(), EffectKind(9).String()}
	want := []string{"unknown", "pass", "fail", "Verdict(9)", "always", "master", "backup", "When(9)", "fault", "weight", "report", "EffectKind(9)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

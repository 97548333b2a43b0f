package health

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/command"

	"github.com/google/go-cmp/cmp"
)

// script answers in turn, the last one for ever.
func script(answers ...Answer) Probe {
	n := 0
	return probeFunc(func(context.Context) Answer {
		a := answers[min(n, len(answers)-1)]
		n++
		return a
	})
}

func TestScheduler_NoOpinion(t *testing.T) {
	none, pass, fail := Answer{None: true, Text: "stopped"}, Answer{OK: true, Text: "well"}, Answer{Text: "ill"}
	tests := map[string]struct {
		answers []Answer
		want    []string
		last    Result // without its times
	}{
		"never an opinion": {
			[]Answer{none}, nil,
			Result{Check: "c", Interval: time.Second, Text: "stopped"},
		},
		"no opinion at first": {
			[]Answer{none, none, fail}, []string{"2s c unknown to fail after 1: ill"},
			Result{Check: "c", Interval: time.Second, Verdict: Fail, Text: "ill", Runs: 4, Failed: 4},
		},
		"the verdict and the count stay": {
			[]Answer{pass, fail, none, none, fail, none}, []string{"0s c unknown to pass after 1: well", "4s c pass to fail after 2: ill"},
			Result{Check: "c", Interval: time.Second, Verdict: Fail, Text: "stopped", Runs: 2, Passed: 1, Failed: 2},
		},
		"a pass stays a pass": {
			[]Answer{pass, pass, none}, []string{"0s c unknown to pass after 1: well"},
			Result{Check: "c", Interval: time.Second, Verdict: Pass, OK: true, Text: "stopped", Runs: 2, Passed: 2},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, Check{Name: "c", Interval: time.Second, Rise: 2, Fall: 2, Probe: script(tt.answers...)})
				w.until(5500 * time.Millisecond)
				w.end(t)
				w.expect(t, tt.want...)
				r := w.Results()[0]
				if r.At.IsZero() || r.Since.IsZero() != (r.Verdict == Unknown) {
					t.Errorf("%+v", r)
				}
				r.Since, r.At = time.Time{}, time.Time{}
				if diff := cmp.Diff(tt.last, r); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestScheduler_Number(t *testing.T) {
	number := func(n int) Answer { return Answer{OK: true, Number: n, Numbered: true, Text: "number"} }
	type change struct {
		From, To Verdict
		Reading  Reading
	}
	tests := map[string]struct {
		answers []Answer
		want    []change
	}{
		"the same":  {[]Answer{number(3)}, []change{{Unknown, Pass, Reading{Pass, 3, true}}}},
		"another":   {[]Answer{number(3), number(3), number(-4)}, []change{{Unknown, Pass, Reading{Pass, 3, true}}, {Pass, Pass, Reading{Pass, -4, true}}}},
		"a failure": {[]Answer{number(3), {}, {}, number(5)}, []change{{Unknown, Pass, Reading{Pass, 3, true}}, {Pass, Fail, Reading{Fail, 0, true}}, {Fail, Pass, Reading{Pass, 5, true}}}},
		// A failure that does not decide keeps the number, and a pass that does not decide brings none.
		"not yet":       {[]Answer{number(3), {}, number(3)}, []change{{Unknown, Pass, Reading{Pass, 3, true}}}},
		"one pass":      {[]Answer{number(3), {}, {}, number(5), {}}, []change{{Unknown, Pass, Reading{Pass, 3, true}}, {Pass, Fail, Reading{Fail, 0, true}}}},
		"never one":     {[]Answer{{Numbered: true}}, []change{{Unknown, Fail, Reading{Fail, 0, true}}}},
		"known late":    {[]Answer{{}, {Numbered: true}}, []change{{Unknown, Fail, Reading{Verdict: Fail}}, {Fail, Fail, Reading{Fail, 0, true}}}},
		"no opinion":    {[]Answer{number(3), {None: true, Number: 9, Numbered: true}}, []change{{Unknown, Pass, Reading{Pass, 3, true}}}},
		"without words": {[]Answer{number(3), {OK: true}}, []change{{Unknown, Pass, Reading{Pass, 3, true}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, Check{Name: "c", Interval: time.Second, Rise: 2, Fall: 2, Probe: script(tt.answers...)})
				w.until(6 * time.Second)
				w.end(t)
				var got []change
				for _, c := range w.told {
					got = append(got, change{c.From, c.To, c.Reading()})
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if r := w.Results()[0].Reading(); r != got[len(got)-1].Reading {
					t.Errorf("the result has %+v", r)
				}
			})
		})
	}
}

func TestScheduler_NumberLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "load", Interval: time.Second, Probe: script(
			Answer{OK: true, Number: 2, Numbered: true, Text: "2"}, Answer{OK: true, Number: 3, Numbered: true, Text: "3"})})
		w.until(3 * time.Second)
		w.end(t)
		want := `level=INFO msg="check changed" check=load from=pass to=pass runs=2 text=3 number=3`
		if !strings.Contains(w.log.String(), want) {
			t.Errorf("no line %s in\n%s", want, w.log.String())
		}
	})
}

func TestScheduler_Output(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("x", 3*command.MaxOutput)
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: script(Answer{OK: true, Output: "one\ntwo\n"}, Answer{OK: true, Output: long}, Answer{OK: true})})
		for i, want := range []string{"one\ntwo\n", long[:command.MaxOutput], ""} {
			w.until(time.Duration(i)*time.Second + time.Millisecond)
			if got := w.Results()[0].Output; got != want {
				t.Errorf("run %d: %d bytes, want %d", i, len(got), len(want))
			}
		}
		w.end(t)
	})
}

// A text that quotes something long is kept, and told of, no longer than that.
func TestScheduler_LongText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("x", 3*maxText)
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: script(Answer{Text: long, Hint: long})})
		w.until(time.Millisecond)
		w.end(t)
		if r, c := w.Results()[0], w.told[0]; r.Text != long[:maxText] || r.Hint != r.Text || c.Text != r.Text || c.Hint != r.Text {
			t.Errorf("kept %d and %d bytes, told of %d and %d", len(r.Text), len(r.Hint), len(c.Text), len(c.Hint))
		}
	})
}

// What a command wrote before it was killed comes late, and is kept no less short.
func TestScheduler_LateOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("x", 3*command.MaxOutput)
		w := watch(t, Check{Name: "c", Interval: time.Minute, Timeout: time.Second, Probe: probeFunc(func(ctx context.Context) Answer {
			<-ctx.Done()
			time.Sleep(time.Millisecond)
			return Answer{Text: "killed", Output: long}
		})})
		w.until(2 * time.Second)
		if r := w.Results()[0]; r.Text != "killed" || r.Output != long[:command.MaxOutput] {
			t.Errorf("%s, and %d bytes", r.Text, len(r.Output))
		}
		w.end(t)
	})
}

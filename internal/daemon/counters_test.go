package daemon

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/command"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/role"
	"baton/internal/trial"
	"baton/vip"
	"baton/vrrp"
)

func TestCounters(t *testing.T) {
	c := newCounters()
	c.link("eth0", true)
	four := c.link("eth0", false)
	four.count(link.Stats{Sent: 10, Received: 20, SendFailed: 1}, link.Stats{})
	four.count(link.Stats{Sent: 12, Received: 20, SendFailed: 1, SendDropped: 2, ReceiveOverflow: 3, SurveyMalformed: 4}, link.Stats{Sent: 10, Received: 20, SendFailed: 1})
	four.count(link.Stats{Sent: 1}, link.Stats{}) // the sockets are new
	four.refused[vrrp.RefusedTTL].Add(5)
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 3 * time.Millisecond, 2 * time.Second} {
		c.lateness.add(d)
	}
	c.reassert(time.Second)
	c.reassert(500 * time.Millisecond)
	for _, k := range []vip.EventKind{vip.On, vip.Off, vip.Repaired, vip.Repaired, vip.Stuck} {
		c.address(k)
	}
	for _, k := range []role.ReportKind{role.Ready, role.Died, role.StopFailed} {
		c.service(k)
	}
	for _, r := range []command.Result{{}, {Exit: 1}, {TimedOut: true}, {Err: errors.New("no such file")}} {
		c.hook(r)
	}
	c.reload(errors.New("mistakes"))
	m := c.metrics()
	if len(m.Links) != 2 || m.Links[0].Refused["ttl"] != 5 || len(m.Links[0].Refused) != vrrp.Refusals-1 {
		t.Fatalf("%+v", m.Links)
	}
	m.Links[0].Refused, m.Links[1].Refused, m.Lateness.Bounds = nil, nil, nil
	want := control.Metrics{
		Links: []control.LinkMetrics{
			{Interface: "eth0", Family: "IPv4", Sent: 13, Received: 20, Unsent: 3, Lost: 3, Broken: 4},
			{Interface: "eth0", Family: "IPv6"},
		},
		Lateness:   control.Lateness{Counts: []uint64{2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, Sum: 2.0031, Worst: 2},
		TwoMasters: 2, TwoMastersFor: 1500 * time.Millisecond,
		Addresses:       map[string]uint64{"failed": 0, "recovered": 0, "repaired": 2, "removed": 0, "contested": 0},
		ServiceFailures: map[string]uint64{"not started": 0, "died": 1, "lost": 0, "not stopped": 1},
		Hooks:           map[string]uint64{"success": 1, "failure": 2, "timeout": 1},
		Reloads:         map[string]uint64{"success": 0, "failure": 1}, ReloadFailed: true,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c.reload(nil); c.metrics().ReloadFailed {
		t.Error("a reload that failed is shown after one that did not")
	}
}

// However many ask, the loop is asked once a second, and one that hangs is not asked
// again.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		asked := 0
		answers := func(answer func(time.Duration)) { asked++; answer(0) }
		for range 5 {
			<-p.ask(answers).done
		}
		if asked != 1 {
			t.Errorf("asked %d times in a moment", asked)
		}
		time.Sleep(fresh)
		<-p.ask(answers).done
		if asked != 2 {
			t.Errorf("asked %d times in a second", asked)
		}
		time.Sleep(fresh)
		for range 5 {
			select {
			case <-p.ask(func(func(time.Duration)) { asked++ }).done:
				t.Error("an answer that nobody gave")
			default:
			}
			time.Sleep(time.Minute)
		}
		if asked != 3 {
			t.Errorf("a loop that hangs is asked %d times", asked-2)
		}
	})
}

func TestDaemon_AliveGivesUp(t *testing.T) {
	poller, err := link.NewPoller()
	must(t, err)
	defer poller.Close()
	d := &daemon{loop: newLoop(poller, nil)} // it does not run
	d.ctx, d.cancel = context.WithCancel(t.Context())
	defer d.parts.Wait() // before its poller is closed
	defer d.cancel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := d.Alive(ctx); !errors.Is(err, errHung) {
		t.Errorf("%v", err)
	}
	trial.Await(t, 5*time.Second, "it is alive after a turn", func() bool {
		d.loop.takeInbox(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		return d.Alive(ctx) == nil
	})
}

func TestListenerOf(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.11:9112")
	for _, l := range []*config.Listen{nil, {Token: "x"}} {
		if o := listenerOf(l); o != nil {
			t.Errorf("%+v: %+v", l, o)
		}
	}
	got := listenerOf(&config.Listen{Address: at, Token: "x", TLS: &config.ListenTLS{CertFile: "c", KeyFile: "k", ClientCAFile: "a"}})
	if got.Address != at || got.Token != "x" || *got.TLS != (control.ListenTLS{CertFile: "c", KeyFile: "k", ClientCAFile: "a"}) {
		t.Errorf("%+v", got)
	}
}

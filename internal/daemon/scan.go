package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"baton/internal/link"
	"baton/vrrp"
)

// Speaker is a router that was heard on a link: the master of a virtual router.
type Speaker struct {
	VRID           uint8    `json:"vrid"`
	Family         string   `json:"family"`  // IPv4 or IPv6
	Version        uint8    `json:"version"` // 2 or 3
	Source         string   `json:"source"`
	Unicast        bool     `json:"unicast"` // it speaks to this host, not to the group
	Priority       uint8    `json:"priority"`
	Interval       string   `json:"interval"`
	Authentication string   `json:"authentication"` // none, pass, ah or hmac
	Addresses      []string `json:"addresses"`
	Heard          uint64   `json:"heard"` // advertisements
}

// Scan listens on an interface for a while, or until ctx ends, and returns the
// masters of all virtual routers that were heard, by VRID.
func Scan(ctx context.Context, iface string, listen time.Duration) ([]Speaker, error) {
	log := slog.New(slog.DiscardHandler)
	monitor, err := link.NewMonitor(log)
	if err != nil {
		return nil, err
	}
	defer monitor.Close()
	state, ok := monitor.Table().ByName(iface)
	switch {
	case !ok:
		return nil, fmt.Errorf("scan %s: there is no such interface", iface)
	case !state.Up:
		return nil, fmt.Errorf("scan %s: the interface is down", iface)
	}
	poller, err := link.NewPoller()
	if err != nil {
		return nil, err
	}
	defer func() { _ = poller.Close() }()
	var conns []*link.Conn
	var failed []error
	for i, ipv6 := range []bool{false, true} {
		c, err := link.Open(state, ipv6, log)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		defer func() { _ = c.Close() }()
		if err := c.Watch(poller, uint64(i)*link.ReadyTags); err != nil {
			return nil, err
		}
		conns = append(conns, c)
	}
	if len(conns) == 0 {
		return nil, errors.Join(failed...)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { poller.Wake(); close(woken) })
	defer func() {
		if !stop() {
			<-woken // or the poller would be closed under it
		}
	}()
	var survey vrrp.Survey
	var ready []uint64
	for end := poller.Now() + listen; ctx.Err() == nil && poller.Now() < end; {
		deadline := end
		for _, c := range conns {
			if until, paused := c.SurveyPaused(); paused {
				deadline = min(deadline, until)
			}
		}
		if ready, err = poller.Wait(deadline, ready); err != nil {
			return nil, err
		}
		now := poller.Now()
		for _, c := range conns {
			for _, p := range c.Survey(now, perTurn) {
				survey.Hear(now, vrrp.Packet{Src: p.Src, Dst: p.Dst, TTL: p.TTL, Message: p.Payload})
			}
			c.Announcements(perTurn) // nobody asked for them
		}
	}
	return speakersOf(&survey), nil
}

func speakersOf(s *vrrp.Survey) []Speaker {
	found := []Speaker{} // an empty list, not null
	for _, v := range s.Speakers() {
		speaker := Speaker{
			VRID: v.VRID, Family: v.Family.String(), Version: v.Version, Source: v.Source.String(), Unicast: v.Unicast,
			Priority: v.Priority, Interval: v.Interval.String(), Authentication: v.Authentication.String(), Heard: v.Count,
			Addresses: []string{},
		}
		for _, a := range v.Addresses {
			speaker.Addresses = append(speaker.Addresses, a.String())
		}
		found = append(found, speaker)
	}
	return found
}

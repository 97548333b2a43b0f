package service

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// When a manager that comes and goes is looked for, and what is told of it.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		gone := func(func()) {}
		attempts := []func(changed func()){
			gone,
			gone,
			func(changed func()) { changed(); changed() }, // it is there, and tells of a change
			gone,
			gone,
			gone,
			func(changed func()) { changed() },
			func(changed func()) { changed(); time.Sleep(2 * time.Second) },
			gone,
			func(func()) { cancel() },
		}
		var got []string
		began := time.Now()
		follow(ctx, time.Second, func() { got = append(got, "told") }, func(changed func()) {
			got = append(got, time.Since(began).String())
			next := attempts[0]
			attempts = attempts[1:]
			next(changed)
		})
		want := []string{
			"0s", "told", "100ms", "300ms", "told", "told",
			"700ms", "told", "1.5s", "2.5s", "3.5s", "told", "4.5s", "told", "6.6s", "told", "6.8s",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

package daemon

import "time"

const (
	// limitEvery is how often one and the same finding is logged.
	limitEvery = time.Minute
	// limitKeys bounds the memory that a flood of forged sources can take;
	// what comes beyond it is not logged.
	limitKeys = 256
	// limitRetry is how often a full limiter looks for what can be forgotten.
	limitRetry = time.Second
)

// limiter lets each key through at most once a minute, so that whoever is on
// the network cannot fill the log.
type limiter[K comparable] struct {
	last map[K]time.Duration
	full time.Duration // no new key before then
}

// allow tells whether the key may be logged now.
func (l *limiter[K]) allow(now time.Duration, key K) bool {
	last, seen := l.last[key]
	switch {
	case seen && now-last < limitEvery:
		return false
	case !seen && len(l.last) >= limitKeys:
		if now < l.full {
			return false
		}
		l.forget(now)
		if len(l.last) >= limitKeys {
			l.full = now + limitRetry
			return false
		}
	}
	if l.last == nil {
		l.last = make(map[K]time.Duration)
	}
	l.last[key] = now
	return true
}

// forget drops the keys whose minute is over.
func (l *limiter[K]) forget(now time.Duration) {
	for key, last := range l.last {
		if now-last >= limitEvery {
			delete(l.last, key)
		}
	}
}

package vrrp

import (
	"crypto/subtle"
	"fmt"
	"time"
)

// Version 2 is RFC 3768, with the authentication of RFC 2338 that it dropped
// and that keepalived still speaks: IPv4 alone, intervals of whole seconds,
// and eight bytes of authentication data behind the addresses.

const (
	version2          = 2
	authenticationLen = 8 // RFC 2338 section 5.3.6, RFC 3768 section 5.3.10
	maxInterval2      = 255 * time.Second
)

// The kinds of authentication (RFC 2338 section 5.3.6). Type 2, the IP
// Authentication Header, is a protocol of its own, which baton does not speak.
const (
	authNone     = 0
	authPassword = 1
	authAH       = 2
)

// checkVersion checks the version and what depends on it.
func (c Config) checkVersion() error {
	if c.Version != version2 {
		switch {
		case c.Version != version3:
			return fmt.Errorf("version %d is not 2 or 3", c.Version)
		case c.Password != nil:
			return fmt.Errorf("a password is for version 2")
		case c.Interval < MinInterval || c.Interval > MaxInterval || c.Interval%centisecond != 0:
			return fmt.Errorf("interval %s is not in %s to %s in steps of %s", c.Interval, MinInterval, MaxInterval, centisecond)
		}
		return nil
	}
	switch {
	case c.Family != IPv4:
		return fmt.Errorf("version 2 is for IPv4")
	case c.Interval < time.Second || c.Interval > maxInterval2 || c.Interval%time.Second != 0:
		return fmt.Errorf("interval %s is not in 1s to %s in steps of 1s, as version 2 has it", c.Interval, maxInterval2)
	case c.Password != nil && c.HMAC != nil:
		return fmt.Errorf("a password and signatures exclude each other")
	}
	return nil
}

// authentication is what the router's advertisements carry in version 2.
func (c *Config) authentication() (kind uint8, data [authenticationLen]byte) {
	if c.Password == nil {
		return authNone, data
	}
	return authPassword, *c.Password
}

// agrees checks what a router of version 2 must agree on with its peers: the
// authentication and the interval. Another one is refused, and then both
// sides are master (RFC 3768 section 7.1).
func (c *Config) agrees(a *Advertisement) Refusal {
	kind, data := c.authentication()
	switch {
	case a.AuthType != kind:
		return RefusedAuthType
	case kind == authPassword && subtle.ConstantTimeCompare(a.Auth[:], data[:]) == 0:
		return RefusedPassword
	case a.Interval != c.Interval:
		return RefusedMismatch
	}
	return Accepted
}

// skewUnit is the time of which the skew is a part: the interval, and in
// version 2 one second whatever the interval (RFC 3768 section 6.1).
func (c *Config) skewUnit(interval time.Duration) time.Duration {
	if c.Version == version2 {
		return time.Second
	}
	return interval
}

//go:build soak

package test

import (
	"testing"
	"time"
)

// 200 reloads in 20 s on 200 routers, half of them of a broken file.
func TestReloadFlood_TwoHundred(t *testing.T) { storm(t, 200, 20*time.Second) }

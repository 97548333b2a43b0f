package command_test

import (
	"log/slog"
	"testing"

	"baton/internal/command"
	"baton/internal/command/commandtest"
)

func TestRun(t *testing.T) {
	commandtest.Run(t, func(t *testing.T) command.RunFunc {
		r := command.NewRunner(slog.New(slog.DiscardHandler))
		t.Cleanup(r.Close)
		return r.Run
	})
}

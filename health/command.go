package health

import (
	"context"

	"baton/internal/command"
)

// NewCommandProbe asks by running a command: exit status 0 is a pass, anything
// else a failure, in the command's own words. Whatever keeps it from running is
// a failure too. The program, its path and its user are looked at before each
// run, so what is mended counts at the next one; problem is what cannot be
// mended without a reload, and fails every run.
// Spec.Timeout bounds a run beside the deadline of the probe's context.
func NewCommandProbe(run command.RunFunc, s command.Spec, problem error) Probe {
	return &commandProbe{run, s, problem}
}

type commandProbe struct {
	run     command.RunFunc
	spec    command.Spec
	problem error
}

func (p *commandProbe) Probe(ctx context.Context) Answer {
	if p.problem != nil {
		return Answer{Text: p.problem.Error()}
	}
	res := p.run(ctx, p.spec)
	if res.Left != nil {
		<-res.Left // no second run beside one that cannot be killed
	}
	a := Answer{OK: res.OK(), Text: res.String(), Output: string(res.Output)}
	if line := res.FirstLine(); a.OK && line != "" {
		a.Text = line
	}
	return a
}

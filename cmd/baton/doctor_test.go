package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/internal/doctor"
)

func TestPrintReport(t *testing.T) {
	tests := map[string]struct {
		report doctor.Report
		want   string
	}{
		"well": {doctor.Report{Node: "lb1", Running: true, PID: 4312}, "lb1  baton runs, PID 4312: nothing to mend\n"},
		"advice": {doctor.Report{Node: "lb1", Running: true, Findings: []doctor.Finding{{ID: "kernel", Level: doctor.Advice, Text: "Linux 5.10 is old"}}},
			"lb1  baton runs: no problem, and advice\n\nadvice kernel\n    Linux 5.10 is old\n"},
		"all": {doctor.Report{Node: "lb1", Findings: []doctor.Finding{
			{ID: "vrid", Level: doctor.Problem, Text: "10.0.0.7 has it\x1b", Mend: "another", Routers: strings.Fields("a b c d e f g h")},
			{ID: "kernel", Level: doctor.Advice, Text: "old"},
		}, Skipped: []doctor.Skipped{{What: "the firewall", Why: "run it as root"}}}, `lb1  no baton runs here: one problem, and advice

problem vrid  (a, b, c, d, e, f and 2 more)
    10.0.0.7 has it?
    mend: another

advice kernel
    old

not looked at:
    the firewall: run it as root
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := printReport(&out, &tt.report, palette{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

package scripts_test

import (
	"fmt"
	"testing"
	"time"
)

// A test has no DRBD: it is a kernel module. A stub stands for drbdadm. What it says has the form that `drbdadm status`
// gives it in drbd-utils 9.22 (functions resource_status, device_status, connection_status of drbdsetup.c; see also
// the DRBD 9 user's guide, "Status information via drbdadm"), where the kernel has DRBD 9 or 8.4.6 and later; the
// errors were recorded from Debian's drbd-utils 9.22. Older 8.4 knows no status: there it is role and dstate, as in
// the DRBD 8.4 user's guide.
func TestCheckDRBD_Recorded(t *testing.T) {
	const (
		standby = "osc role:Secondary\n  disk:UpToDate open:no\n  osc-1 role:Primary\n    peer-disk:UpToDate\n\n"
		serving = "osc role:Primary\n  disk:UpToDate open:yes\n  osc-2 role:Secondary\n    peer-disk:UpToDate\n\n"
		orphan  = "osc role:Secondary\n  disk:UpToDate open:no\n  osc-1 connection:Connecting\n\n"
		v84     = "osc role:Secondary\n  disk:UpToDate\n  peer role:Primary\n    replication:Established peer-disk:UpToDate\n\n"
		noMod   = "sh: 1: modinfo: not found\nFailed to modprobe drbd (No such file or directory)\nCommand 'drbdsetup status osc' terminated with exit code 20\n"
	)
	status := func(says string) map[string]string { return map[string]string{"status": says} }
	old := func(role, dstate string) map[string]string {
		return map[string]string{"status": "Usage: drbdadm COMMAND [OPTION...]\n", "role": role, "dstate": dstate}
	}
	tests := []struct {
		name   string
		says   map[string]string
		status int
		args   []string
		exit   int
		want   string
	}{
		{"standby", status(standby), 0, nil, 0, "Secondary, UpToDate; osc-1 Primary\n"},
		{"standby may promote", status(standby), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate; osc-1 Primary\n"},
		{"standby is not Primary", status(standby), 0, []string{"--role", "Primary"}, 1, "Secondary, UpToDate; osc-1 Primary: want Primary\n"},
		{"standby is no MASTER", status(standby), 0, []string{"--role", "MASTER"}, 1, ": want Primary\n"},
		{"standby is Secondary", status(standby), 0, []string{"--role", "Secondary"}, 0, "Secondary, "},
		{"standby is BACKUP", status(standby), 0, []string{"--role=BACKUP"}, 0, "Secondary, "},
		{"standby is FAULT", status(standby), 0, []string{"--role", "FAULT"}, 0, "Secondary, "},
		{"serving", status(serving), 0, []string{"--role", "Primary", "--up-to-date"}, 0, "Primary, UpToDate; osc-2 Secondary\n"},
		{"serving is MASTER", status(serving), 0, []string{"--role", "MASTER"}, 0, "Primary, "},
		{"serving is no BACKUP", status(serving), 0, []string{"--role", "BACKUP"}, 1, ": want Secondary\n"},
		{"the peer is dead", status(orphan), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate; osc-1 Connecting\n"},
		{"no peer at all", status("osc role:Secondary\n  disk:UpToDate\n"), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate\n"},
		{"quorum lost", status("osc role:Secondary\n  disk:UpToDate quorum:no open:no\n  osc-1 connection:Connecting\n  osc-3 connection:Connecting\n"), 0,
			[]string{"--may-promote"}, 1, "Secondary, UpToDate, quorum lost; osc-1 Connecting, osc-3 Connecting: not in the majority\n"},
		{"quorum lost and suspended", status("osc role:Primary suspended:quorum\n  disk:UpToDate quorum:no blocked:upper\n  osc-1 connection:Connecting\n"), 0,
			[]string{"--role", "Primary"}, 0, "Primary, UpToDate, quorum lost; osc-1 Connecting\n"},
		{"receives data", status("osc role:Secondary\n  disk:Inconsistent open:no\n  osc-1 role:Primary\n    replication:SyncTarget peer-disk:UpToDate done:12.50\n"), 0,
			[]string{"--may-promote"}, 1, "Secondary, Inconsistent; osc-1 Primary: the data here is not UpToDate\n"},
		{"sends data", status("osc role:Secondary\n  disk:UpToDate open:no\n  osc-1 role:Secondary\n    replication:SyncSource peer-disk:Inconsistent done:12.50\n"), 0,
			[]string{"--up-to-date"}, 0, "Secondary, UpToDate; osc-1 Secondary\n"},
		{"outdated", status("osc role:Secondary\n  disk:Outdated open:no\n  osc-1 connection:StandAlone\n"), 0,
			[]string{"--may-promote"}, 1, "Secondary, Outdated; osc-1 StandAlone: the data here is not UpToDate\n"},
		{"consistent is not enough", status("osc role:Secondary\n  disk:Consistent open:no\n  osc-1 connection:Connecting\n"), 0,
			[]string{"--may-promote"}, 1, "Secondary, Consistent; osc-1 Connecting: the data"},
		{"no disk", status("osc role:Secondary\n  disk:Diskless client:no open:no\n  osc-1 role:Primary\n    peer-disk:UpToDate\n"), 0,
			[]string{"--up-to-date"}, 1, "Secondary, Diskless; osc-1 Primary: the data"},
		{"one volume of two", status("osc role:Secondary\n  volume:0 disk:UpToDate open:no\n  volume:1 disk:Inconsistent open:no\n  osc-1 role:Primary\n    volume:0 peer-disk:UpToDate\n    volume:1 replication:SyncTarget peer-disk:UpToDate done:0.04\n"), 0,
			[]string{"--may-promote"}, 1, "Secondary, UpToDate,Inconsistent; osc-1 Primary: the data here is not UpToDate\n"},
		{"two volumes", status("osc role:Secondary\n  volume:0 disk:UpToDate open:no\n  volume:1 disk:UpToDate quorum:no\n      open:no\n  osc-1 role:Primary\n    volume:0 peer-disk:UpToDate\n    volume:1 peer-disk:UpToDate\n"), 0,
			[]string{"--may-promote"}, 1, "Secondary, UpToDate,UpToDate, quorum lost; osc-1 Primary: not in the majority\n"},
		{"another resource before it", status("osc2 role:Primary\n  disk:Inconsistent\n\n" + standby + "r2 role:Primary\n  disk:Failed\n"), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate; osc-1 Primary\n"},
		{"noise before it", status("sh: 1: modinfo: not found\n" + standby), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate; osc-1 Primary\n"},
		{"8.4", status(v84), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate; peer Primary\n"},
		{"8.4 before status", old("Secondary/Unknown\n", "UpToDate/DUnknown\n"), 0, []string{"--may-promote"}, 0, "Secondary, UpToDate; peer Unknown\n"},
		{"8.4 before status, two volumes", old("Primary/Secondary\nPrimary/Secondary\n", "UpToDate/UpToDate\nInconsistent/UpToDate\n"), 0,
			[]string{"--role", "MASTER", "--up-to-date"}, 1, "Primary, UpToDate,Inconsistent; peer Secondary: the data"},
		{"8.4 before status, down", old("Unconfigured\n", "Unconfigured\n"), 0, nil, 1, "osc is down: drbdadm up osc\n"},
		{"down", status("# No currently configured DRBD found.\n"), 10, []string{"--may-promote"}, 1, "osc is down: drbdadm up osc\n"},
		{"no such resource", status("osc: No such resource\nCommand 'drbdsetup status osc' terminated with exit code 10\n"), 10, nil, 1, "osc is down: drbdadm up osc\n"},
		{"no module", status(noMod), 20, []string{"--may-promote"}, 1, "osc is down: the kernel module drbd is not loaded\n"},
		{"not configured", status("'osc' not defined in your config (for this host).\n"), 1, nil, 2, "'osc' not defined in your config (for this host).\n"},
		{"not root", status("/etc/drbd.d/osc.res: Permission denied\n"), 10, nil, 2, "may not ask DRBD: /etc/drbd.d/osc.res: Permission denied\n"},
		{"something new", status("oops\x1b\n"), 3, []string{"--may-promote"}, 2, "drbdadm failed with exit status 3: oops \n"},
		{"an answer of another kind", status("what?\n"), 0, []string{"--may-promote"}, 2, "osc: not an answer of drbdadm: what?\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tools(t, "timeout")
			for command, says := range tt.says {
				write(t, dir, "said-"+command, says, 0o600)
			}
			// Of two words it knows the resource by the second.
			write(t, dir, "drbdadm", fmt.Sprintf("#!/bin/sh\n[ \"$2\" = osc ] && cat %s/said-$1\nexit %d\n", dir, tt.status), 0o755)
			run(t, "", []string{"PATH=" + dir}, "check-drbd", append([]string{"osc"}, tt.args...)...).expect(t, tt.exit, tt.want)
		})
	}
	t.Run("hangs", func(t *testing.T) {
		dir := tools(t, "timeout", "sleep")
		write(t, dir, "drbdadm", "#!/bin/sh\nexec sleep 60\n", 0o755)
		r := run(t, "", []string{"PATH=" + dir}, "check-drbd", "--may-promote", "osc", "--timeout", "0.3")
		r.expect(t, 1, "osc: drbdadm has not answered within 0.3s\n")
		if r.took > 5*time.Second {
			t.Errorf("took %v with a time limit of 0.3s", r.took)
		}
	})
}

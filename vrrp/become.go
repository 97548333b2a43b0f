package vrrp

import "time"

// The become functions are the only ones that change a role. Each resets what
// belonged to the old one.

// leave resets what belongs to a role and starts the new one, with our own
// interval until a master's is learned (section 6.4.1).
func (r *router) leave(now time.Duration, to Role, why Action) {
	why.Kind, why.From, why.To = Change, r.role, to
	r.role, r.since = to, now
	r.timer = Never
	r.masterInterval = r.cfg.Interval
	r.relistened = false
	r.ready, r.preemptAt, r.owes = false, Never, false
	r.lostSince, r.lostAt = 0, 0
	r.left, r.master = Rival{}, Rival{}
	r.quiet = speaking
	r.conflict = conflict{}
	r.act(why)
}

func (r *router) becomeInit(now time.Duration, why Action) {
	r.leave(now, Init, why)
}

func (r *router) becomeBackup(now time.Duration, why Action) {
	r.leave(now, Backup, why)
	r.listen(now)
}

// becomeMaster speaks first, so that an old master lets go, and then takes
// the addresses (section 6.4.1 and 6.4.2).
func (r *router) becomeMaster(now time.Duration, why Action) {
	r.send(now, r.priority)
	r.fresh = r.grip == released
	r.grip = held
	r.act(Action{Kind: Hold})
	r.leave(now, Master, why)
	r.settled, r.waived = true, false
	r.timer = r.nextAdvertisement(now)
}

// becomeFault listens on: whether somebody holds the role matters to what
// ends some faults.
func (r *router) becomeFault(now time.Duration, why Action) {
	r.leave(now, Fault, why)
	r.listen(now)
}

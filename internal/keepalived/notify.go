package keepalived

import (
	"slices"
	"strings"

	"baton/internal/config"
)

// events are the keywords of notify scripts, and baton's name of the event.
var events = map[string]string{
	"notify": "any", "notify_master": "master", "notify_backup": "backup", "notify_fault": "fault", "notify_stop": "stop",
	"notify_master_rx_lower_pri": "reassert",
}

// readNotify reads a line notify, notify_master and so on of an instance or a sync
// group.
func (c *conversion) readNotify(e *election, b *Block) {
	event := events[b.Keyword()]
	switch {
	case b.Keyword() == "notify_deleted":
		c.notifyDeleted(b)
		return
	case slices.ContainsFunc(e.hooks, func(h hook) bool { return h.event == event }):
		c.report.block(Ignored, b, "there is one already, and keepalived takes the first")
		return
	}
	if len(b.Words) < 2 {
		c.first(b)
		return
	}
	argv, note, problem := command(b.Words[1].Text)
	switch {
	case problem == "" && len(b.Words) > 2:
		problem = noUser(b.Words[2].Text)
	case problem == "it names no program":
		problem = "it is empty"
	}
	if problem != "" {
		outcome, text := refused(problem, ": keepalived runs nothing")
		c.report.block(outcome, b, text)
		return
	}
	user := c.readUser(b, 2)
	words := b.Words[:min(3, len(b.Words))]
	switch {
	case note != "":
		c.report.words(Approximated, note, words...)
	case event == "stop":
		c.report.words(Converted, "baton runs it at the beginning of a stop, while the addresses may still be on, and waits for it", words...)
	case user == "" && c.nobodyNamed():
		c.report.words(Converted, nobodyNamed, words...)
	default:
		c.report.words(Converted, "", words...)
	}
	e.hooks = append(e.hooks, hook{event: event, command: hookNode(argv, firstOf(user, c.scriptUser())), pos: b.Pos()})
}

// noUser tells why what stands where a user is expected is none: people forget the
// quotes round a command and what it is called with.
func noUser(name string) string {
	switch strings.ToUpper(name) {
	case "MASTER", "BACKUP", "FAULT", "STOP", "INSTANCE", "GROUP":
	default:
		if unfitUser(name) == "" {
			return ""
		}
	}
	return "keepalived takes " + short(name) + " for a user, and there is none of that name. If the command is to be called with it, quotes round both are missing"
}

// hookNode is a command of `notify`, by a user where one is named.
func hookNode(argv []string, user string) any {
	if user == "" {
		return commandNode(argv)
	}
	return newMapping().with("command", commandNode(argv)).with("user", user).flow()
}

func (c *conversion) notifyDeleted(b *Block) {
	if len(b.Arguments()) == 0 {
		c.report.block(NotNeeded, b, "a router that a reload removes is told STOP")
		return
	}
	c.report.block(Unsupported, b, "a router that a reload removes is told STOP: put the command into notify: {stop: ...}")
}

// meant names what a word was meant for.
func meant(word string, known []string) string {
	if hint := config.DidYouMean(word, known); strings.HasPrefix(hint, "did you mean") {
		return "; " + hint
	}
	return ""
}

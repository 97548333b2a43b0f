package config

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// askLimit bounds what asks a service or tells it something, and neither starts nor stops it.
const askLimit = 10 * time.Second

// serviceReader reads one list of services.
type serviceReader struct {
	*walk
	here  bool // this node runs what the list belongs to
	scope scope
	all   []placedService
}

// placedService is a service and where it stands.
type placedService struct {
	Service
	at   place
	path string
}

// boundService is a service that this node starts and stops on somebody's behalf.
type boundService struct {
	by  string // a router, a group, or nothing: it runs on every node
	key *node  // tells who that is from all others
	at  place
}

// readServiceDefaults reads what services have in common, and reports its own mistakes, whoever uses it.
func (w *walk) readServiceDefaults(n *node) {
	w.serviceDefaults = w.fields(n, place{}, commonServiceKeys, "service defaults")
	if n == nil {
		return
	}
	asked, needed := len(w.config.questions), w.secrets.needed
	w.secrets.needed = false
	f := w.serviceDefaults
	f.table = serviceKeys // which has all of them
	sr := &serviceReader{walk: w, scope: inService}
	sr.values(f)
	w.containerOf(f, "container", inManaged)
	w.user(f)
	w.environment(f)
	w.secrets.needed = needed
	w.config.questions = w.config.questions[:asked]
}

// services reads those that are bound to a role, and where among them the addresses go on.
func (rr *routerReader) services(f fields, r *reading) {
	w := rr.walk
	n := f.get("services")
	if !w.isServiceList(n) {
		return
	}
	sr := &serviceReader{walk: w, here: rr.here, scope: inService}
	var mark *node
	for _, item := range n.items {
		switch {
		case item.kind == scalar && item.text == "addresses" && mark != nil:
			w.errorAt(item.place, n.path, "", "addresses stands here twice, first in %s", mark.from(item.place))
		case item.kind == scalar && item.text == "addresses":
			mark, r.AddressesAt = item, len(sr.all)
		default:
			sr.service(item, n)
		}
	}
	for _, s := range sr.all {
		r.Services = append(r.Services, s.Service)
	}
	r.placedServices = sr.all
}

// readServices reads those that run on every node.
func (w *walk) readServices(n *node) {
	if !w.isServiceList(n) {
		return
	}
	sr := &serviceReader{walk: w, here: true, scope: everywhere}
	for _, item := range n.items {
		if item.kind == scalar && item.text == "addresses" {
			w.errorAt(item.place, n.path, "take it out", "addresses go on with a role; these services run on every node, whatever its role")
			continue
		}
		sr.service(item, n)
	}
	for _, s := range sr.all {
		w.config.Services = append(w.config.Services, s.Service)
		w.bind(s, "", n)
	}
}

// isServiceList tells whether there is one, and reports what is something else.
func (w *walk) isServiceList(n *node) bool {
	const hint = "a list, in the order in which they start: services: [{unit: NAME.service}]"
	switch {
	case n == nil || n.kind == empty:
		return false
	case n.kind == list:
		return true
	case n.kind == scalar:
		w.errorAt(n.place, n.path, hint, "is a single value, want a list of services")
	default:
		w.errorAt(n.place, n.path, hint, "is %s, want a list of services", n.kind)
	}
	return false
}

// service reads an item of the list.
func (sr *serviceReader) service(item, list *node) {
	w := sr.walk
	switch {
	case item.kind == scalar && sr.scope.roles && nearest(item.text, []string{"addresses"}) != "":
		w.errorAt(item.place, list.path, `did you mean "addresses"?`, "%s is no service", quote(item.text))
		return
	case item.kind == scalar:
		hint := "{unit: NAME.service}, {container: NAME}, {ocf: PROVIDER:AGENT} or {name: NAME, command: {start: COMMAND, stop: COMMAND}}"
		if unitType(item.text) != "" {
			hint = "{unit: " + short(item.text) + "}"
		}
		w.errorAt(item.place, list.path, hint, "%s is no service: want a mapping", quote(item.text))
		return
	case item.kind != mapping:
		w.errorAt(item.place, list.path, "", "is %s, want a service", item.kind)
		return
	}
	f := w.fields(item, item.place, serviceKeys, "service")
	f.path, f.fallback = list.path, w.serviceDefaults.own
	if f.own["engine"] != nil && f.own["socket"] == nil { // the default is another engine's
		f.fallback = maps.Clone(f.fallback)
		delete(f.fallback, "socket")
	}
	errors := w.errors
	s := sr.values(f)
	s.Kind = sr.kind(f)
	sr.what(f, &s)
	sr.fits(f, s)
	at := item.place
	if n := f.own["name"]; n != nil {
		at = n.place
		if n = f.scalar("name"); n != nil && w.name(n, "service") {
			s.Name = n.text
		}
	}
	i := slices.IndexFunc(sr.all, func(o placedService) bool { return s.Name != "" && o.Name == s.Name })
	switch {
	case i >= 0:
		w.errorAt(at, list.path, "name: NAME tells two of a kind apart", "there is a service %q already (%s)", s.Name, sr.all[i].at.from(at))
	case w.errors == errors:
		sr.all = append(sr.all, placedService{s, at, list.path})
	}
}

// values reads the keys that all kinds have.
func (sr *serviceReader) values(f fields) Service {
	s := Service{
		Ready:            sr.ready(f),
		StartTimeout:     f.duration("start_timeout", 100*time.Millisecond, time.Hour, false),
		StopTimeout:      f.duration("stop_timeout", 100*time.Millisecond, time.Hour, false),
		Revive:           sr.revive(f),
		OnlyAfterSilence: f.oneOf("only_after", "silence") == "silence",
	}
	if at := f.oneOf("at_start", "decide", "stop", "leave"); sr.scope.roles {
		switch at {
		case "stop":
			s.AtStart = AtStartStop
		case "leave":
			s.AtStart = AtStartLeave
		}
	}
	return s
}

// ready is the check that tells when a service is up. It runs wherever the service may.
func (sr *serviceReader) ready(f fields) string {
	n := f.scalar("ready")
	if n == nil {
		return ""
	}
	if !slices.Contains(sr.checks, n.text) {
		hint := didYouMean(n.text, sr.checks)
		if len(sr.checks) == 0 {
			hint = "there are no checks"
		}
		sr.errorAt(n.place, n.path, hint, "there is no check %q", short(n.text))
		return ""
	}
	sr.pull(sr.trackedBy, n.text)
	if sr.here {
		sr.want(n.text)
	}
	return n.text
}

// revive merges the defaults' keys and the service's.
func (sr *serviceReader) revive(f fields) Revive {
	w := sr.walk
	n := f.get("revive")
	if n != nil && n.kind != mapping {
		if n.kind != scalar || !n.boolean || n.quoted() {
			hint := "revive: {tries: 3, within: 10m, backoff: 5s}, or revive: false"
			if n.kind == scalar && n.quoted() && strings.EqualFold(n.text, "false") {
				hint = "write it without quotes"
			}
			w.errorAt(n.place, n.path, hint, "is %s, want a mapping or false", shownOr(n))
		} else if strings.EqualFold(n.text, "false") {
			return Revive{}
		}
		n = nil
	}
	at := f.at
	if n != nil {
		at = n.place
	}
	r := w.fields(n, at, reviveKeys, "revive")
	if d := f.fallback["revive"]; d != nil && d.kind == mapping && n != d {
		r.fallback = w.fields(d, at, reviveKeys, "revive").own
	}
	if t := r.get("tries"); t != nil && t.kind == scalar && t.text == "0" {
		w.errorAt(t.place, t.path, "revive: false", "0 tries bring nothing back")
		return Revive{}
	}
	return Revive{
		Tries:   r.number("tries", 1, 1000),
		Within:  r.duration("within", time.Second, day, false),
		Backoff: r.duration("backoff", 100*time.Millisecond, time.Minute, false),
	}
}

func shownOr(n *node) string {
	if n.kind == scalar {
		return n.shown()
	}
	return n.kind.String()
}

// fits reports what a service cannot have where it stands.
func (sr *serviceReader) fits(f fields, s Service) {
	w := sr.walk
	for _, k := range []struct {
		name string
		of   []ServiceKind
		hint string
	}{
		{"engine", []ServiceKind{ContainerService}, ""},
		{"socket", []ServiceKind{ContainerService}, ""},
		{"params", []ServiceKind{OCFService}, ""},
		{"user", []ServiceKind{OCFService, CommandService, RoleService}, "a unit says User= itself, and a container has its own"},
		{"environment_file", []ServiceKind{CommandService, RoleService}, "a unit says EnvironmentFile= itself, a container has its own environment, an agent its params"},
	} {
		if n := f.own[k.name]; n != nil && s.Kind != 0 && !slices.Contains(k.of, s.Kind) {
			w.errorAt(n.place, n.path, k.hint, "has no meaning for %s", s.Kind.a())
		}
	}
	if s.OnlyAfterSilence && sr.scope.roles {
		sr.fence(f, s)
	}
	if sr.scope.roles {
		return
	}
	for _, name := range []string{"only_after", "at_start"} {
		if n := f.own[name]; n != nil {
			w.errorAt(n.place, n.path, "take it out, or bind the service to a virtual router", "is about a role, and this service runs on every node, whatever its role")
		}
	}
}

// fence reports what a service is not asked for that is started only to make sure of the old master.
func (sr *serviceReader) fence(f fields, s Service) {
	w := sr.walk
	n := f.own["only_after"]
	switch s.Kind {
	case UnitService, ContainerService, OCFService:
		w.errorAt(n.place, n.path, "command: {start: COMMAND}, which may be systemctl start, too", "%s that runs since the last time is not started again: a fence would pass and have done nothing", s.Kind.a())
	case RoleService:
		w.errorAt(n.place, n.path, "command: {start: COMMAND}", "a fence is started, and takes no role")
	}
	for _, name := range []string{"stop", "status"} {
		if c := f.own["command"].child(name); c != nil && s.Kind == CommandService {
			w.errorAt(c.place, c.path, "take it out", "has no meaning for a fence, which is started, and neither stopped nor watched")
		}
	}
	for _, name := range []string{"revive", "at_start"} {
		if o := f.own[name]; o != nil {
			w.errorAt(o.place, o.path, "take it out", "has no meaning for a fence, which is started, and neither stopped nor watched")
		}
	}
}

// bindServices remembers what a router or its group starts and stops on this node.
func (rr *routerReader) bindServices(c contest, name string, r reading) {
	if !rr.here {
		return
	}
	if c.group != "" {
		name = c.group
	}
	for _, s := range r.placedServices {
		rr.bind(s, name, c.key)
	}
}

// bind reports a unit or a container that two start and stop by turns.
func (w *walk) bind(s placedService, by string, key *node) {
	what := ""
	switch s.Kind {
	case UnitService:
		what = "unit " + s.Unit
	case ContainerService:
		what = "container " + s.Container.Socket + " " + s.Container.Name
	default:
		return
	}
	first, taken := w.bound[what]
	switch {
	case !taken:
		w.bound[what] = boundService{by, key, s.at}
	case first.key == key: // the same router; or a member of the same group
	case first.by == "":
		w.errorAt(s.at, s.path, "in one place only: it would be started and stopped by turns", "%s runs on every node already (%s)", s.Name, first.at.from(s.at))
	case by == "":
		w.errorAt(s.at, s.path, "in one place only: it would be started and stopped by turns", "%s is already bound to %q (%s), and so cannot run on every node", s.Name, first.by, first.at.from(s.at))
	default:
		w.errorAt(s.at, s.path, "bind it to one of them; what shall move together is a group", "%s is already bound to %q (%s): it would be started and stopped by turns", s.Name, first.by, first.at.from(s.at))
	}
}

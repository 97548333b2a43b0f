package config

import (
	"net/netip"
	"time"

	"baton/internal/tlsclient"
)

// What the types of checks ask. Each stands in the Check of its type.

// HTTP is a request, and what its answer must be.
type HTTP struct {
	URL      string            // http or https
	Socket   string            // a Unix socket to send it to; empty: where URL says
	Method   string            // GET, HEAD, ...
	Headers  map[string]string // Host among them
	User     string            // of basic authentication; empty: none
	Password string            // secret
	Statuses [][2]int          // ranges of accepted statuses, both ends included; at least one
	Match    string            // a regular expression that the body must match; empty: any body
	TLS      tlsclient.Options
}

// Dialogue is a connection and what is said on it.
type Dialogue struct {
	Network string // tcp or unix
	Address string // HOST:PORT, or an absolute path
	Steps   []Step // none: to connect is all
	TLS     tlsclient.Options
}

// Step is one turn of a dialogue.
type Step struct {
	Send   string // bytes; empty: listen only
	Expect string // bytes that the reply must have; empty: do not wait for one
}

// Processes selects processes of this host: by exactly one of the first three.
type Processes struct {
	Name    string // as ps -C has it
	Path    string // of the executable
	PIDFile string
	Least   int   // how many there must be, at least 1 unless Most is 0
	Most    int   // -1: any number
	Ports   []int // of a ConnectionCheck: one of them has an established connection to one of these ports
}

// Ping is who must answer an ICMP echo.
type Ping struct {
	Address   netip.Addr
	Interface string // to send on; empty: as routed
}

// File is what a file must be.
type File struct {
	Path string
	Want FileWant
}

// FileWant says what of a file counts.
type FileWant uint8

// The choices.
const (
	FilePresent FileWant = iota
	FileAbsent           // the maintenance switch: its presence fails
	FileNumber           // it has a number, which multiplies the weight of each router that tracks it
)

// Presence is something that this host's network must have.
type Presence struct {
	Interface string       // of an InterfaceCheck; else empty: any
	Address   netip.Addr   // of an AddressCheck
	To        netip.Prefix // of a RouteCheck
	Via       netip.Addr   // invalid: any
	Table     uint32       // 254: main
}

// Quorum is who must answer, more than half of them and this node.
type Quorum struct {
	Nodes     []Node       // the others
	Witnesses []netip.Addr // that vote beside the nodes
	Port      int          // a TCP port that nodes accept connections on; 0: they are pinged, as witnesses are
}

// Combination is a verdict on other checks.
type Combination struct {
	Of    []string
	Least int // how many of them must pass
}

// ServiceKind is who runs a service.
type ServiceKind uint8

// The kinds.
const (
	_                ServiceKind = iota
	UnitService                  // systemd
	ContainerService             // docker or podman
	OCFService                   // a resource agent
	CommandService               // commands that start and stop it
	RoleService                  // commands that promote and demote what runs everywhere
)

// Service is something that baton starts and stops.
type Service struct {
	Name      string
	Kind      ServiceKind
	Unit      string // with its suffix
	Container Container
	OCF       OCF
	// Start, Stop and Status are of a CommandService, Promote, Demote, Follow and
	// Status of a RoleService; nil: none. A service has Start or Promote at least.
	Start, Stop, Status, Promote, Demote, Follow *Command

	Ready            string // a check; empty: none
	StartTimeout     time.Duration
	StopTimeout      time.Duration
	Revive           Revive
	OnlyAfterSilence bool
	AtStart          AtStart
}

// Container is a container, and the socket of its engine.
type Container struct {
	Name   string
	Socket string // absolute path
}

// OCF is a resource agent and the instance that it looks after.
type OCF struct {
	Provider string // heartbeat, ...
	Agent    string // redis, ...
	Params   map[string]string
	User     string // empty: who runs baton
}

// Revive is how a service that died is brought back.
type Revive struct {
	Tries   int // 0: not at all
	Within  time.Duration
	Backoff time.Duration
}

// AtStart is what happens to a service when baton starts.
type AtStart uint8

// The choices.
const (
	AtStartDecide AtStart = iota
	AtStartStop
	AtStartLeave
)

// OnStopFailure is what happens when a service does not stop.
type OnStopFailure uint8

// The choices.
const (
	StopFailureHold    OnStopFailure = iota // stay master, where the leave was chosen
	StopFailureRelease                      // leave nevertheless
	StopFailureReboot                       // reboot this host
)

// Webhook is a URL that is told of changes.
type Webhook struct {
	Name    string
	URL     string
	Headers map[string]string // secret
	Token   string            // sent as a bearer token; secret; empty: none
	Events  []string          // role, check, service: what it is told of
	Timeout time.Duration
	Retries int
	TLS     tlsclient.Options
}

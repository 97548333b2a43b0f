package scripts_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const cloudToken = "t0ken.of-the_cloud"

// cloud is a made-up API of Hetzner Cloud, as far as the hook uses it: it has the forms of the API's documentation.
type cloud struct {
	*httptest.Server
	ca string

	mu      sync.Mutex
	servers map[string]int // of each floating IP; 0: none
	delay   int            // so many reads of an address still show the old server after an assignment
	pending map[string]int
	locked  bool
	asked   []string
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{servers: map[string]int{"4711": 1, "4712": 0}, pending: map[string]int{}}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.StartTLS()
	t.Cleanup(c.Close)
	c.ca = filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, c.ca, c.Certificate().Raw)
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/floating_ips/")
	id, action, _ := strings.Cut(path, "/")
	c.asked = append(c.asked, r.Method+" "+path)
	server, known := c.servers[id]
	switch {
	case r.Header.Get("Authorization") != "Bearer "+cloudToken:
		text(401, `{"error": {"code": "unauthorized", "message": "unable to authenticate"}}`)(w, r)
	case !known:
		text(404, `{"error": {"code": "not_found", "message": "floating IP not found", "details": null}}`)(w, r)
	case r.Method == http.MethodGet && action == "":
		if c.pending[id] != 0 {
			if c.delay--; c.delay < 0 {
				server = c.pending[id]
				c.servers[id], c.pending[id] = server, 0
			}
		}
		text(200, floating(id, server))(w, r)
	case r.Method == http.MethodPost && action == "actions/assign" && c.locked:
		text(423, `{"error": {"code": "locked", "message": "another action is under way"}}`)(w, r)
	case r.Method == http.MethodPost && action == "actions/assign":
		var body struct{ Server int }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/json" {
			text(400, `{"error": {"code": "json_error", "message": "bad JSON"}}`)(w, r)
			return
		}
		c.pending[id] = body.Server
		text(201, `{"action": {"id": 13, "command": "assign_floating_ip", "status": "running", "progress": 0, "resources": [{"id": 42, "type": "server"}]}}`)(w, r)
	default:
		text(405, "")(w, r)
	}
}

// floating is a floating IP in the API's words.
func floating(id string, server int) string {
	holder := "null"
	if server != 0 {
		holder = fmt.Sprint(server)
	}
	return fmt.Sprintf(`{
  "floating_ip": {
    "id": %s, "name": "web", "ip": "131.232.99.1", "type": "ipv4", "server": %s,
    "dns_ptr": [{"ip": "131.232.99.1", "dns_ptr": "server.example.com"}],
    "home_location": {"id": 1, "name": "fsn1"}, "blocked": false
  }
}`, id, holder)
}

// set changes what the API will do, and forgets what it was asked.
func (c *cloud) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.asked = nil
}

func (c *cloud) heard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.asked, ", ")
}

func (c *cloud) env(state string) []string {
	return []string{"CURL_CA_BUNDLE=" + c.ca, "HCLOUD_TOKEN=" + cloudToken, "BATON_STATE=" + state}
}

func TestMoveCloudAddress(t *testing.T) {
	need(t, "curl")
	c := startCloud(t)
	move := func(t *testing.T, env []string, args ...string) result {
		t.Helper()
		r := run(t, "", env, "move-cloud-address", append([]string{"--api", c.URL + "/v1", "--server", "2"}, args...)...)
		r.expectNoSecret(t, cloudToken)
		return r
	}
	t.Run("moves", func(t *testing.T) {
		move(t, c.env("MASTER"), "--floating-ip", "4711", "--floating-ip=4712").
			expect(t, 0, "moved to server 2: 4711 (was at 1) 4712 (was at no server)\n")
	})
	t.Run("is here already", func(t *testing.T) {
		c.set(func() {})
		move(t, c.env("MASTER"), "--floating-ip", "4711").expect(t, 0, "already at server 2: 4711\n")
		if got := c.heard(); got != "GET 4711" {
			t.Errorf("asked %s, want to look only", got)
		}
	})
	t.Run("other states", func(t *testing.T) {
		c.set(func() {})
		for _, state := range []string{"BACKUP", "FAULT", "STOP", ""} {
			move(t, c.env(state), "--floating-ip", "4711").expect(t, 0, "nothing to do: the state is "+state)
		}
		if got := c.heard(); got != "" {
			t.Errorf("asked %s, want nothing", got)
		}
	})
	t.Run("takes a moment", func(t *testing.T) {
		c.set(func() { c.servers["4711"], c.delay = 1, 1 })
		move(t, c.env("MASTER"), "--floating-ip", "4711").expect(t, 0, "moved to server 2: 4711 (was at 1)\n")
	})
	t.Run("never comes", func(t *testing.T) {
		c.set(func() { c.servers["4711"], c.delay = 1, 1000 })
		r := move(t, c.env("MASTER"), "--floating-ip", "4711", "--timeout", "1.5")
		r.expect(t, 1, "floating IP 4711: asked for, but not here within 1.5s\n")
		if r.took > 10*time.Second {
			t.Errorf("took %v with a time limit of 1.5s", r.took)
		}
		c.set(func() { c.delay, c.pending["4711"] = 0, 0 })
	})
	t.Run("locked", func(t *testing.T) {
		c.set(func() { c.servers["4711"], c.locked = 1, true })
		move(t, c.env("MASTER"), "--floating-ip", "4711").expect(t, 1, "POST /floating_ips/4711/actions/assign: HTTP status 423: another action is under way\n")
		c.set(func() { c.locked = false })
	})
	t.Run("no such address", func(t *testing.T) {
		move(t, c.env("MASTER"), "--floating-ip", "1").expect(t, 1, "GET /floating_ips/1: HTTP status 404: floating IP not found\n")
	})
	t.Run("token", func(t *testing.T) {
		env := c.env("MASTER")
		move(t, append(env, "HCLOUD_TOKEN=guess"), "--floating-ip", "4711").expect(t, 1, "HTTP status 401: unable to authenticate\n")
		move(t, append(env, "HCLOUD_TOKEN="), "--floating-ip", "4711").expect(t, 2, "HCLOUD_TOKEN is not set")
		move(t, append(env, "HCLOUD_TOKEN=a\"\nurl=b"), "--floating-ip", "4711").expect(t, 2, "HCLOUD_TOKEN holds what no token has")
		bin, seen := spy(t, "curl")
		move(t, append(env, "PATH="+bin), "--floating-ip", "4711").expect(t, 0, "server 2: 4711")
		if notes := seen(); !strings.Contains(notes, "/floating_ips/4711") || strings.Contains(notes, cloudToken) {
			t.Errorf("the token is on a command line, or curl on none: %s", notes)
		}
	})
	t.Run("certificate", func(t *testing.T) {
		move(t, append(c.env("MASTER"), "CURL_CA_BUNDLE="), "--floating-ip", "4711").expect(t, 1, "certificate")
	})
	t.Run("hangs", func(t *testing.T) {
		hanging := httptest.NewTLSServer(http.HandlerFunc(slow))
		t.Cleanup(hanging.Close)
		ca := filepath.Join(t.TempDir(), "ca.pem")
		writePEM(t, ca, hanging.Certificate().Raw)
		r := run(t, "", append(c.env("MASTER"), "CURL_CA_BUNDLE="+ca), "move-cloud-address", "--api", hanging.URL, "--server", "2", "--floating-ip", "4711", "--timeout", "1")
		r.expect(t, 1, "no answer from "+hanging.URL+" within 1s\n")
		if r.took > 5*time.Second {
			t.Errorf("took %v with a time limit of 1s", r.took)
		}
	})
}

// Which server this is it learns from the cloud's metadata service, at an address that every cloud has.
func TestMoveCloudAddress_Metadata(t *testing.T) {
	need(t, "curl")
	s := newSandbox(t)
	env := []string{"HCLOUD_TOKEN=" + cloudToken, "BATON_STATE=MASTER"}
	args := []string{"--api", "https://127.0.0.1:1", "--floating-ip", "4711"}
	s.run(t, "", env, "move-cloud-address", args...).expect(t, 1, "the metadata service does not say which server this is: give --server")

	s.output(t, nil, "ip", "address", "add", "169.254.169.254/32", "dev", "lo")
	dir := t.TempDir()
	write(t, dir, "answer", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n42", 0o600)
	s.start(t, dir, nil, "socat", "TCP-LISTEN:80,bind=169.254.169.254,fork,reuseaddr", "SYSTEM:read -r line && cat answer")
	eventually(t, "the metadata service answers", func() (bool, string) {
		r := s.run(t, "", env, "move-cloud-address", args...)
		// It knows itself now, and goes on to the API, which is not there.
		return strings.HasPrefix(r.stdout, "GET /floating_ips/4711: curl failed with 7"), r.stdout
	})
}

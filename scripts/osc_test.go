package scripts_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	statusPath = "/api/server/v1/serverManagement/status"
	alarmsPath = "/api/server/v1/alarms"
	statusJSON = `{"version":"0.8.0 (Build: 1)","currentServerTime":1700000000000,"dbVersion":"99","pid":"4338"}`
	statusXML  = "<?xml version=\"1.0\"?>\n<status>\n<version>0.8.0</version><dbVersion>99</dbVersion>\n<pid>4338</pid></status>"
)

// osc is a made-up Open Security Controller: status without login, alarms with one.
type osc struct {
	*httptest.Server
	ca string // its certificate, a file

	mu             sync.Mutex
	status, alarms http.HandlerFunc // replaced by a test
	logins         []string         // given with any request, as USER:PASSWORD
	accept         string           // the status request's Accept
}

const login = `baton:p"a\s$s: w'ord`

func text(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// slow answers nothing as long as somebody waits.
func slow(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func startOSC(t *testing.T) *osc {
	t.Helper()
	o := &osc{status: text(200, statusJSON), alarms: text(200, "[]")}
	handle := func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		status, alarms := o.status, o.alarms
		user, password, given := r.BasicAuth()
		if given {
			o.logins = append(o.logins, r.URL.Path+" "+user+":"+password)
		}
		if r.URL.Path == statusPath {
			o.accept = r.Header.Get("Accept")
		}
		o.mu.Unlock()
		switch {
		case r.Method == http.MethodGet && r.URL.Path == statusPath:
			status(w, r)
		case r.Method == http.MethodGet && r.URL.Path == alarmsPath && user+":"+password == login:
			alarms(w, r)
		case r.URL.Path == alarmsPath:
			text(401, "")(w, r)
		default:
			text(404, "")(w, r)
		}
	}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(handle))
	o.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are meant
	o.StartTLS()
	t.Cleanup(o.Close)
	o.ca = filepath.Join(t.TempDir(), "osc-ca.pem")
	writePEM(t, o.ca, o.Certificate().Raw)
	return o
}

func (o *osc) set(status, alarms http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.alarms, o.logins = status, alarms, nil
}

func TestCheckOSC_Status(t *testing.T) {
	need(t, "curl")
	o := startOSC(t)
	good := text(200, statusJSON)
	url := o.URL + statusPath
	trusted := []string{"--url", url, "--ca", o.ca}
	foreign := filepath.Join(t.TempDir(), "other.pem")
	writeOtherCertificate(t, foreign)
	tests := []struct {
		name   string
		status http.HandlerFunc
		args   []string
		exit   int
		want   string
	}{
		{"JSON", good, trusted, 0, "OSC 0.8.0, pid 4338\n"},
		{"XML", text(200, statusXML), trusted, 0, "OSC 0.8.0, pid 4338\n"},
		{"a number for pid", text(200, `{ "pid" : 77 , "version" : "1.0" }`), trusted, 0, "OSC 1.0, pid 77\n"},
		{"insecure", good, []string{"--url", url, "--insecure"}, 0, "pid 4338"},
		{"status 500", text(500, statusJSON), trusted, 1, url + ": HTTP status 500, want 200\n"},
		{"status 401", text(401, ""), trusted, 1, "HTTP status 401, want 200\n"},
		{"redirect", http.RedirectHandler("/", http.StatusFound).ServeHTTP, trusted, 1, "HTTP status 302"},
		{"something else", text(200, "<html>It works!</html>"), trusted, 1, "is this OSC?"},
		{"a pid alone", text(200, `{"pid":"12","dbVersion":"99"}`), trusted, 1, "is this OSC?"},
		{"a version alone", text(200, `{"version":"1.0"}`), trusted, 1, "is this OSC?"},
		{"nothing", text(200, ""), trusted, 1, "is this OSC?"},
		{"wrong path", good, []string{"--url", o.URL + "/status", "--ca", o.ca}, 1, "HTTP status 404"},
		{"no CA", good, []string{"--url", url}, 2, "certificate not trusted: give --ca FILE"},
		{"wrong CA", good, []string{"--url", url, "--ca", foreign}, 2, "certificate not trusted: give --ca FILE"},
		{"name not in the certificate", good, []string{"--url", strings.Replace(url, "127.0.0.1", "localhost", 1), "--ca", o.ca}, 2, "certificate not trusted"},
		{"no certificate in the CA file", good, []string{"--url", url, "--ca", write(t, t.TempDir(), "empty.pem", "", 0o600)}, 2, "holds no certificate"},
		{"slow", slow, append([]string{"--timeout", "0.3"}, trusted...), 1, "no answer within 0.3s"},
		{"breaks off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, trusted, 1, url + ": "},
		{"plain HTTP to a TLS port", good, []string{"--url", strings.Replace(url, "https", "http", 1)}, 1, "HTTP status 400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o.set(tt.status, text(200, "[]"))
			r := run(t, "", nil, "check-osc", tt.args...)
			r.expect(t, tt.exit, tt.want)
			if r.took > 5*time.Second {
				t.Errorf("took %v", r.took)
			}
			if len(o.logins) != 0 {
				t.Errorf("a login was sent: %q", o.logins)
			}
		})
	}
	if o.accept != "application/json" {
		t.Errorf("Accept %q, want application/json", o.accept)
	}
	t.Run("a proxy in the environment is not used", func(t *testing.T) {
		o.set(good, nil)
		dir := t.TempDir()
		write(t, dir, ".curlrc", "fail-early\nurl = http://127.0.0.1:1/\n", 0o600)
		run(t, dir, []string{"https_proxy=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1"}, "check-osc", trusted...).expect(t, 0, "pid 4338")
	})
	t.Run("CA among the credentials", func(t *testing.T) {
		run(t, "", []string{"CREDENTIALS_DIRECTORY=" + filepath.Dir(o.ca)}, "check-osc", "--url", url, "--ca", "osc-ca.pem").expect(t, 0, "pid 4338")
	})
	t.Run("without curl", func(t *testing.T) {
		run(t, "", []string{"PATH=" + tools(t)}, "check-osc", trusted...).expect(t, 2, "apt install curl")
	})
	t.Run("name unknown", func(t *testing.T) {
		// Not a name at all: no resolver is asked, and no packet leaves this host.
		run(t, "", nil, "check-osc", "--url", "https://a..b"+statusPath).expect(t, 2, "a..b")
	})
	t.Run("connection refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		run(t, "", nil, "check-osc", "--url", "https://"+l.Addr().String()+statusPath).expect(t, 1, "connection refused or unreachable: OSC does not run")
	})
}

// writePEM writes a certificate to a file.
func writePEM(t *testing.T, path string, der []byte) {
	t.Helper()
	write(t, filepath.Dir(path), filepath.Base(path), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o644)
}

// writeOtherCertificate writes a certificate that has not signed the servers of httptest.
func writeOtherCertificate(t *testing.T, path string) {
	t.Helper()
	openssl := need(t, "openssl")
	cmd := prepare(t, filepath.Dir(path), nil, openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes",
		"-subj", "/CN=other", "-days", "2", "-keyout", path+".key", "-out", path)
	if r := finish(t, cmd); r.exit != 0 {
		t.Fatalf("openssl: %s", r.stderr)
	}
}

func TestCheckOSC_Deep(t *testing.T) {
	need(t, "curl")
	o := startOSC(t)
	dir := t.TempDir()
	write(t, dir, "login", login+"\r\nsecond line\n", 0o640)
	write(t, dir, "wrong", "baton:guess\n", 0o600)
	write(t, dir, "open", login, 0o604)
	write(t, dir, "writable", login, 0o602)
	write(t, dir, "half", "baton\n", 0o600)
	for link, to := range map[string]string{"link": "open", "good-link": "login"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	alarms := o.URL + alarmsPath
	tests := []struct {
		name           string
		login          string
		status, alarms http.HandlerFunc
		exit           int
		want           string
	}{
		{"good", "login", text(200, statusXML), text(200, "[]"), 0, "OSC 0.8.0, pid 4338, database answers\n"},
		{"absolute name", filepath.Join(dir, "login"), text(200, statusXML), text(200, "[]"), 0, "database answers\n"},
		{"database broken", "login", text(200, statusXML), text(500, "no connection"), 1,
			"OSC 0.8.0, pid 4338, but its database does not answer: " + alarms + ": HTTP status 500\n"},
		{"database hangs", "login", text(200, statusXML), slow, 1, alarms + ": no answer within 0.5s\n"},
		{"status broken", "login", text(503, ""), text(200, "[]"), 1, "HTTP status 503"},
		{"wrong login", "wrong", text(200, statusXML), text(200, "[]"), 2, "login refused (HTTP status 401)"},
		{"forbidden", "login", text(200, statusXML), text(403, ""), 2, "login refused (HTTP status 403)"},
		{"readable by others", "open", text(200, statusXML), text(200, "[]"), 2, "./open is open to others: chmod o= it"},
		{"writable by others", "writable", text(200, statusXML), text(200, "[]"), 2, "is open to others"},
		{"link to a file readable by others", "link", text(200, statusXML), text(200, "[]"), 2, "./link is open to others"},
		{"link to a file that is private", "good-link", text(200, statusXML), text(200, "[]"), 0, "database answers"},
		{"no password", "half", text(200, statusXML), text(200, "[]"), 2, "is not USER:PASSWORD"},
		{"a folder", dir, text(200, statusXML), text(200, "[]"), 2, "no such file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o.set(tt.status, tt.alarms)
			args := []string{"--url", o.URL + statusPath, "--ca", o.ca, "--deep", "--login-file", tt.login}
			if tt.name == "database hangs" {
				args = append(args, "--timeout", "0.5")
			}
			r := run(t, dir, nil, "check-osc", args...)
			r.expect(t, tt.exit, tt.want)
			if r.took > 5*time.Second {
				t.Errorf("took %v", r.took)
			}
			for _, l := range o.logins {
				if !strings.HasPrefix(l, alarmsPath+" ") {
					t.Errorf("a login was sent to %s", l)
				}
			}
			if strings.Contains(r.stdout, "p\"a") {
				t.Errorf("the password is shown: %s", r.stdout)
			}
		})
	}
	t.Run("among the credentials first", func(t *testing.T) {
		o.set(text(200, statusXML), text(200, "[]"))
		credentials := t.TempDir()
		write(t, credentials, "wrong", login, 0o400)
		env := []string{"CREDENTIALS_DIRECTORY=" + credentials}
		args := []string{"--url", o.URL + statusPath, "--ca", o.ca, "--deep", "--login-file"}
		run(t, dir, env, "check-osc", append(args, "wrong")...).expect(t, 0, "database answers")
		run(t, dir, env, "check-osc", append(args, "login")...).expect(t, 0, "database answers") // only in the working directory
	})
}

// One limit for both requests: what the first has used up, the second lacks.
func TestCheckOSC_OneTimeLimit(t *testing.T) {
	need(t, "curl")
	o := startOSC(t)
	dir := t.TempDir()
	write(t, dir, "login", login, 0o600)
	o.set(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(700 * time.Millisecond):
			text(200, statusXML)(w, r)
		case <-r.Context().Done():
		}
	}, slow)
	r := run(t, dir, nil, "check-osc", "--url", o.URL+statusPath, "--ca", o.ca, "--deep", "--login-file", "login", "--timeout", "1")
	r.expect(t, 1, "no answer within 1s")
	if r.took > 1500*time.Millisecond {
		t.Errorf("took %v with a time limit of 1s", r.took)
	}
}

// What stands on a command line can be read by every user of the host.
func TestCheckOSC_PasswordIsOnNoCommandLine(t *testing.T) {
	curl := need(t, "curl")
	o := startOSC(t)
	dir := t.TempDir()
	write(t, dir, "login", login, 0o600)
	bin, seen := spy(t, "curl")
	r := run(t, dir, []string{"PATH=" + bin}, "check-osc", "--url", o.URL+statusPath, "--ca", o.ca, "--deep", "--login-file", "login")
	r.expect(t, 0, "database answers")
	notes := seen()
	if !strings.Contains(notes, alarmsPath) {
		t.Fatalf("%s was not seen at work: %s", curl, notes)
	}
	for _, part := range []string{"p\"a", `p\"a`, "w'ord", "baton:"} {
		if strings.Contains(notes, part) {
			t.Errorf("%q is on a command line: %s", part, notes)
		}
	}
}

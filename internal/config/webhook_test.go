package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/tlsclient"
)

func TestLoad_Webhooks(t *testing.T) {
	c := mustLoad(t, "testdata/good/services.yaml", someone("lb2"))
	want := []Webhook{
		{
			Name: "alerts", URL: "http://10.0.0.12:9093/api", Headers: map[string]string{"X-Team": "control plane"}, Token: "abc.def",
			Events: []string{"check", "service"}, Timeout: 2 * time.Second,
		},
		{Name: "chat", URL: "https://chat.example.org/baton/lb2", Events: []string{"role"}, Timeout: 5 * time.Second, Retries: 3},
	}
	if diff := cmp.Diff(want, c.Webhooks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	third := mustLoad(t, "testdata/good/services.yaml", someone("lb3")).Webhooks
	if len(third) != 3 || third[2].TLS.ServerName != "alerts" || third[2].TLS.SkipVerify || !cmp.Equal(third[2].Events, []string{"service"}) {
		t.Errorf("on the third node %+v", third)
	}
}

// Files of TLS are looked for as secrets are; no message shows a secret.
func TestLoad_WebhookSecrets(t *testing.T) {
	dir, credentials := t.TempDir(), t.TempDir()
	pemFiles(t, filepath.Join(dir, "cert.pem"), filepath.Join(credentials, "key.pem"))
	pemFiles(t, filepath.Join(dir, "other.pem"), filepath.Join(dir, "other.key"))
	write(t, filepath.Join(dir, "token"), "abc\n", 0o600)
	write(t, filepath.Join(dir, "bad"), "SECRET SECRET\n", 0o600)
	write(t, filepath.Join(dir, "open"), "SECRET\n", 0o644)
	write(t, filepath.Join(dir, "nothing"), "\n", 0o600)
	for _, tc := range []struct {
		keys, problem string
		want          Webhook
	}{
		{keys: "token_file: token", want: Webhook{Token: "abc"}},
		{keys: "tls: {ca_file: cert.pem, cert_file: " + filepath.Join(dir, "cert.pem") + ", key_file: key.pem}",
			want: Webhook{TLS: tlsclient.Options{CAFile: filepath.Join(dir, "cert.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(credentials, "key.pem")}}},
		{keys: "tls: {verify: false}", want: Webhook{TLS: tlsclient.Options{SkipVerify: true}}},
		{keys: "token_file: absent", problem: "no such file"},
		{keys: "token_file: bad", problem: "has a space"},
		{keys: "token_file: open", problem: "open to everyone"},
		{keys: "token_file: nothing", problem: "is empty"},
		{keys: "token: 'SECRET SECRET'", problem: "has a space"},
		{keys: "token:\n      SECRET SECRET", problem: "has a space"},
		{keys: "headers: {A: 'SECRET\\x00'}, retries: many", problem: "is not possible here"},
		{keys: "headers:\n      A: [SECRET]\n      B:\n        SECRET: SECRET", problem: "a mapping"},
		{keys: "headers:\n      Authorization: 'SECRET", problem: "this is not YAML"},
		{keys: "url: https://user:SECRET@example.org/", problem: "has a user in it"},
		{keys: "headers: SECRET", problem: "want a mapping"},
		{keys: "tls: {ca_file: absent.pem}", problem: "absent.pem: no such file"},
		{keys: "tls: {ca_file: token}", problem: "no certificate in PEM"},
		{keys: "tls: {cert_file: cert.pem, key_file: other.key}", problem: "no certificate and its key"},
	} {
		o := withSecrets("a", credentials)
		text := "virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}\nwebhooks:\n  hook:\n    url: https://example.org\n    " +
			strings.ReplaceAll(tc.keys, "}, ", "}\n    ") + "\n"
		if strings.HasPrefix(tc.keys, "url:") {
			text = strings.Replace(text, "url: https://example.org\n    ", "", 1)
		}
		c, report := Load(write(t, filepath.Join(dir, "baton.yaml"), text, 0o644), o)
		var all strings.Builder
		report.WriteTo(&all)
		switch {
		case tc.problem == "" && c == nil:
			t.Errorf("%s: %s", tc.keys, all.String())
		case tc.problem == "":
			tc.want.Name, tc.want.URL, tc.want.Events, tc.want.Timeout, tc.want.Retries = "hook", "https://example.org", []string{"role"}, 5*time.Second, 3
			if diff := cmp.Diff([]Webhook{tc.want}, c.Webhooks); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.keys, diff)
			}
		case !strings.Contains(all.String(), tc.problem) || strings.Contains(all.String(), "SECRET"):
			t.Errorf("%s: want %q, found:\n%s", tc.keys, tc.problem, all.String())
		}
		for _, d := range report.Diagnostics {
			if strings.Contains(d.Source, "SECRET") {
				t.Errorf("%s: a line shows the secret: %s", tc.keys, d.Source)
			}
		}
	}
	// A path beside the configuration is absolute, however the configuration was named.
	t.Chdir(dir)
	write(t, "baton.yaml", "virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}\nwebhooks:\n  hook: {url: https://example.org, tls: {ca_file: cert.pem}}\n", 0o644)
	if ca := mustLoad(t, "baton.yaml", someone("a")).Webhooks[0].TLS.CAFile; ca != filepath.Join(dir, "cert.pem") {
		t.Errorf("ca_file is %s", ca)
	}
	// What another node needs may be absent here, and the files of a node that is only looked at.
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	path := write(t, filepath.Join(dir, "baton.yaml"), "virtual_routers:\n  web: {interface: eth0, vrid: 1, addresses: [10.0.0.1/24]}\nwebhooks:\n  hook: {url: https://example.org, token_file: token, tls: {ca_file: absent.pem}}\n", 0o644)
	if report := Validate(path); len(report.Diagnostics) > 0 {
		t.Errorf("%v", report.Diagnostics)
	}
}

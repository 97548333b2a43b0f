package control

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"baton/internal/tlsclient"
	"baton/internal/trial"

	"github.com/google/go-cmp/cmp"
)

// A node is asked with the token, and whatever answers cannot harm who asks.
func TestRemote(t *testing.T) {
	const good = `{"node":"lb2","routers":[{"name":"web","role":"BACKUP"}]}`
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string // of the error; empty: none
	}{
		{"good", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/checks" {
				fmt.Fprint(w, `[{"name":"haproxy","verdict":"pass"}]`)
				return
			}
			fmt.Fprint(w, good)
		}, ""},
		{"not allowed", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
			"ask 192.0.2.2:9112: it answered 401 Unauthorized: is the token in `listen` the same there"},
		{"another server", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "nothing here", http.StatusNotFound) }, "ask 192.0.2.2:9112: it answered 404 Not Found"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.3/", http.StatusFound)
		}, "ask 192.0.2.2:9112: it answered 302 Found"},
		{"garbage", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
			"ask 192.0.2.2:9112: its answer is none of baton: invalid character '<' looking for beginning of value"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for range 9 {
				fmt.Fprint(w, strings.Repeat(" ", 1<<20))
			}
		}, "ask 192.0.2.2:9112: its answer has more than 8388608 bytes"},
		{"many checks", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/checks" {
				fmt.Fprint(w, `[{}`+strings.Repeat(",{}", 4096)+`]`)
				return
			}
			fmt.Fprint(w, good)
		}, "ask 192.0.2.2:9112: its answer has 4097 of one thing: no node has more than 4096"},
		{"many services", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/checks" {
				fmt.Fprint(w, `[]`)
				return
			}
			fmt.Fprint(w, `{"routers":[{"services":[{}`+strings.Repeat(",{}", 4096)+`]}]}`)
		}, "ask 192.0.2.2:9112: its answer has 4097 of one thing: no node has more than 4096"},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "ask 192.0.2.2:9112: no answer within 2s"},
		{"slow", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, "ask 192.0.2.2:9112: no answer within 2s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := trial.NewPipes()
				tokens := map[string]bool{}
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					tokens[r.Header.Get("Authorization")] = true
					tt.answer(w, r)
				})}
				go server.Serve(p)
				r := NewRemote("SECRET", tlsclient.Options{})
				r.dial = p.Dial
				status, checks, err := r.Ask(context.Background(), netip.MustParseAddrPort("192.0.2.2:9112"))
				switch {
				case tt.want != "":
					if err == nil || err.Error() != tt.want {
						t.Errorf("error %v, want %s", err, tt.want)
					}
				case err != nil || status.Node != "lb2" || len(status.Routers) != 1 || len(checks) != 1:
					t.Errorf("%+v, %+v, %v", status, checks, err)
				}
				if err := server.Close(); err != nil {
					t.Error(err)
				}
				if len(tokens) != 1 || !tokens["Bearer SECRET"] {
					t.Errorf("tokens shown: %v", tokens)
				}
			})
		})
	}
}

// A node that does not listen is named, and so is the order of the nodes.
func TestRemote_AskAll(t *testing.T) {
	r := NewRemote("", tlsclient.Options{})
	got := r.AskAll(t.Context(), []string{"lb3", "lb2"}, nil)
	const silent = "it does not listen: see `listen` in the configuration"
	if diff := cmp.Diff([]ClusterNode{{Name: "lb3", Error: silent}, {Name: "lb2", Error: silent}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestControl_Cluster(t *testing.T) {
	c := serve(t, newFake(Router{Name: "web"}))
	got, err := c.Cluster(t.Context())
	if err != nil || got.Node != "lb1" || len(got.Nodes) != 2 || got.Nodes[0].Status.Routers[0].Name != "web" || got.Nodes[1].Error != "no answer" {
		t.Errorf("%+v, %v", got, err)
	}
}

package scripts_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Debian 12 has no MongoDB. A stub stands for its shell, and says what the script's question makes a real one print; the
// errors have the form of mongosh 2 and mongo 4.4.
func TestCheckMongoDB_Recorded(t *testing.T) {
	const (
		primary    = "hello ok=true primary=true secondary=false arbiter=false set=rs0 leader=10.0.0.1:27017\n"
		secondary  = "hello ok=true primary=false secondary=true arbiter=false set=rs0 leader=10.0.0.1:27017\n"
		recovering = "hello ok=true primary=false secondary=false arbiter=false set=rs0 leader=10.0.0.1:27017\n"
		lost       = "hello ok=true primary=false secondary=true arbiter=false set=rs0 leader=\n"
		arbiter    = "hello ok=true primary=false secondary=false arbiter=true set=rs0 leader=10.0.0.1:27017\n"
		alone      = "hello ok=true primary=true secondary=false arbiter=false set= leader=\n"
	)
	tests := []struct {
		name, says string
		status     int
		args       []string
		exit       int
		want       string
	}{
		{"primary", primary, 0, nil, 0, "primary of rs0\n"},
		{"primary wanted", primary, 0, []string{"--role", "primary", "--set", "rs0"}, 0, "primary of rs0\n"},
		{"secondary wanted", primary, 0, []string{"--role=secondary"}, 1, "primary of rs0: want secondary\n"},
		{"secondary", secondary, 0, nil, 0, "secondary of rs0, primary is 10.0.0.1:27017\n"},
		{"secondary is not primary", secondary, 0, []string{"--role", "primary"}, 1, "primary is 10.0.0.1:27017: want primary\n"},
		{"no primary", lost, 0, []string{"--role", "secondary"}, 0, "secondary of rs0, primary is unknown\n"},
		{"recovering", recovering, 0, nil, 1, "neither primary nor secondary of rs0, primary is 10.0.0.1:27017\n"},
		{"arbiter", arbiter, 0, nil, 1, "arbiter of rs0, primary is 10.0.0.1:27017\n"},
		{"no replica set", alone, 0, nil, 0, "primary\n"},
		{"another replica set", primary, 0, []string{"--set", "rs1"}, 1, "primary of rs0: want the replica set rs1\n"},
		{"a banner before it", "Warning: old\n" + primary, 0, nil, 0, "primary of rs0\n"},
		{"not ok", strings.Replace(primary, "ok=true", "ok=false", 1), 0, nil, 1, "127.0.0.1:27017: hello failed"},
		{"mongosh refused", "MongoNetworkError: connect ECONNREFUSED 127.0.0.1:27017\n", 1, nil, 1, "connection refused: MongoDB does not run\n"},
		{"mongo refused", "Error: couldn't connect to server 127.0.0.1:27017, connection attempt failed: SocketException: Error connecting to 127.0.0.1:27017 :: caused by :: Connection refused :\n" +
			"connect@src/mongo/shell/mongo.js:374:17\n", 1, nil, 1, "connection refused: MongoDB does not run\n"},
		{"certificate", "MongoServerSelectionError: self signed certificate\n", 1, []string{"--tls"}, 2, "127.0.0.1:27017: MongoServerSelectionError: self signed certificate\n"},
		{"unknown name", "MongoNetworkError: getaddrinfo ENOTFOUND db\n", 1, []string{"--host", "db", "--port", "1"}, 2, "db:1: MongoNetworkError: getaddrinfo ENOTFOUND db\n"},
		{"something else", "TypeError: \x1b[31mdb\n", 1, nil, 1, "mongosh failed with exit status 1: TypeError:  [31mdb\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tools(t, "timeout")
			write(t, dir, "said", tt.says, 0o600)
			write(t, dir, "mongosh", fmt.Sprintf("#!/bin/sh\ncat %s/said\nexit %d\n", dir, tt.status), 0o755)
			run(t, "", []string{"PATH=" + dir}, "check-mongodb", tt.args...).expect(t, tt.exit, tt.want)
		})
	}
	t.Run("how the shell is called", func(t *testing.T) {
		dir := tools(t, "timeout")
		write(t, dir, "ca.pem", "", 0o600)
		write(t, dir, "mongo", "#!/bin/sh\nprintf '%s|' \"$@\" >"+dir+"/args\nprintf '"+strings.TrimSpace(primary)+"\\n'\n", 0o755)
		run(t, dir, []string{"PATH=" + dir}, "check-mongodb", "--host", "db1", "--port", "27018", "--tls", "--ca", "ca.pem").expect(t, 0, "primary of rs0\n")
		args := readFile(t, filepath.Join(dir, "args"))
		for _, want := range []string{"--quiet|--norc|--host|db1|--port|27018|--eval|", "db.hello()", "|--tls|--tlsCAFile|./ca.pem|"} {
			if !strings.Contains(args, want) {
				t.Errorf("called with %q, want %q", args, want)
			}
		}
	})
	t.Run("hangs", func(t *testing.T) {
		dir := tools(t, "timeout", "sleep")
		write(t, dir, "mongosh", "#!/bin/sh\nexec sleep 60\n", 0o755)
		r := run(t, "", []string{"PATH=" + dir}, "check-mongodb", "--timeout", "0.3")
		r.expect(t, 1, "127.0.0.1:27017: no answer within 0.3s\n")
		if r.took > 5*time.Second {
			t.Errorf("took %v with a time limit of 0.3s", r.took)
		}
	})
	run(t, "", []string{"PATH=" + tools(t, "timeout")}, "check-mongodb").expect(t, 2, "neither mongosh nor mongo is installed")
}

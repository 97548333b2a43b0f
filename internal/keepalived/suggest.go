package keepalived

import (
	"path"
	"slices"
	"strings"
)

// suggestions are comments that name a type of check which asks the same as a command
// that many write.
func suggestions(t *tracker) []string {
	argv := t.script.argv
	if len(argv) < 2 || shellWord(argv) != "" {
		return nil
	}
	last := short(argv[len(argv)-1])
	use := func(check, why string) []string { return []string{"# Better: " + check + ". " + why} }
	switch path.Base(argv[0]) {
	case "killall", "pkill":
		if slices.Contains(argv, "-0") {
			return use("{type: process, process: "+last+"}", "It notices a death at once, and needs no right.")
		}
	case "pidof", "pgrep":
		return use("{type: process, process: "+last+"}", "It notices a death at once.")
	case "curl", "wget":
		for _, w := range argv[1:] {
			if strings.HasPrefix(w, "http://") || strings.HasPrefix(w, "https://") {
				return use("{type: http, url: "+short(w)+"}", "It starts no process, and says what was answered.")
			}
		}
	case "nc", "ncat", "netcat":
		if len(argv) > 2 {
			return use("{type: tcp, address: "+short(argv[len(argv)-2])+":"+last+"}", "It starts no process.")
		}
	case "ping", "ping6", "fping":
		return use("{type: ping, address: "+last+"}", "It starts no process.")
	case "systemctl":
		if slices.Contains(argv, "is-active") {
			return use("{type: unit, unit: "+last+"}", "It notices a change at once.")
		}
	case "test", "[":
		if argv[1] == "-f" || argv[1] == "-e" {
			return use("{type: file, path: "+short(argv[2%len(argv)])+", want: present}", "It notices a change at once.")
		}
	}
	return nil
}

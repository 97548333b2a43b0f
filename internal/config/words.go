package config

import "strings"

// words translate what iproute2 and keepalived write in one line, for a hint.
type words struct {
	first string            // the key of the word that stands alone
	keys  map[string]string // word: key, the value follows
	flags map[string]string // word: key and value
}

var addressWords = words{
	first: "address",
	keys:  map[string]string{"dev": "interface", "label": "label", "brd": "broadcast", "broadcast": "broadcast", "scope": "scope", "peer": "peer"},
	flags: map[string]string{"noprefixroute": "no_prefix_route: true", "no_track": "repair: false", "home": "", "-nodad": "", "nodad": ""},
}

var routeWords = words{
	first: "to",
	keys: map[string]string{
		"to": "to", "via": "via", "gw": "via", "dev": "interface", "src": "source", "metric": "metric", "priority": "metric", "preference": "metric",
		"table": "table", "scope": "scope", "mtu": "mtu", "type": "type",
	},
	flags: map[string]string{
		"onlink": "on_link: true", "no_track": "repair: false", "unreachable": "type: unreachable", "blackhole": "type: blackhole",
		"prohibit": "type: prohibit", "throw": "type: throw", "unicast": "", "add": "",
	},
}

var ruleWords = words{
	first: "from",
	keys: map[string]string{
		"from": "from", "to": "to", "table": "table", "lookup": "table", "priority": "priority", "preference": "priority", "pref": "priority", "order": "priority",
		"fwmark": "fwmark", "iif": "iif", "dev": "iif", "oif": "oif",
	},
	flags: map[string]string{"no_track": "repair: false", "add": ""},
}

// mapping writes the words as baton has them.
func (w words) mapping(line []string) string {
	var pairs []string
	named := false // the word that stands alone has been seen
	for i := 0; i < len(line); i++ {
		word := strings.Trim(line[i], ",")
		key, hasValue := w.keys[word]
		flag, isFlag := w.flags[word]
		switch {
		case hasValue && i+1 < len(line):
			i++
			value := line[i]
			switch {
			case key == "broadcast" && value == "+":
				value = "auto"
			case key == "broadcast" && value == "-", value == "all":
				continue
			case strings.ContainsAny(value, ":,{}[]#&*!|>'\"%@`"):
				value = `"` + strings.NewReplacer(`"`, "", `\`, "").Replace(value) + `"`
			}
			named = named || key == w.first
			pairs = append(pairs, key+": "+short(value))
		case isFlag && flag != "":
			pairs = append(pairs, flag)
		case isFlag:
		case !named:
			named = true
			if strings.Contains(word, ":") {
				word = `"` + word + `"`
			}
			pairs = append(pairs, w.first+": "+short(word))
		}
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

package keepalived

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// globber finds the files of a pattern as the C library does: braces first, * and ?
// and [ ] within one folder, no * for a leading dot.
type globber struct {
	folder    string // of relative patterns
	left      int    // names that may still be looked at
	wildcards bool   // a folder was searched
	missing   bool   // a name without wildcards, or a folder, that is not there
}

// files gives what matches, each alternative sorted.
func (g *globber) files(pattern string) []string {
	var found []string
	for _, p := range g.alternatives(pattern) {
		if p != "" {
			found = append(found, g.match(p)...)
		}
	}
	return found
}

// alternatives gives a pattern without its braces.
func (g *globber) alternatives(pattern string) []string {
	open := strings.IndexByte(pattern, '{')
	if open < 0 || strings.HasPrefix(pattern[open:], "{}") {
		return []string{pattern}
	}
	var parts []string
	depth, start := 0, open+1
	for i := open; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '{':
			depth++
		case c == ',' && depth == 1:
			parts = append(parts, pattern[start:i])
			start = i + 1
		case c == '}':
			if depth--; depth > 0 {
				continue
			}
			parts = append(parts, pattern[start:i])
			var all []string
			for _, part := range parts {
				if g.left--; g.left <= 0 {
					return nil
				}
				all = append(all, g.alternatives(pattern[:open]+part+pattern[i+1:])...)
			}
			return all
		}
	}
	return []string{pattern}
}

// match gives what matches a pattern without braces, folder by folder.
func (g *globber) match(pattern string) []string {
	found := []string{g.folder}
	if strings.HasPrefix(pattern, "/") {
		found = []string{"/"}
	}
	for _, part := range strings.Split(pattern, "/") {
		if part == "" {
			continue
		}
		var next []string
		for _, folder := range found {
			if strings.ContainsAny(part, "*?[") {
				next = append(next, g.search(folder, part)...)
				continue
			}
			name := filepath.Join(folder, strings.ReplaceAll(part, `\`, ""))
			if _, err := os.Lstat(name); err != nil {
				g.missing = true
				continue
			}
			next = append(next, name)
		}
		if found = next; g.left <= 0 {
			return nil
		}
	}
	return found
}

// search gives the names of a folder that match.
func (g *globber) search(folder, part string) []string {
	g.wildcards = true
	f, err := os.Open(folder)
	if err != nil {
		g.missing = true
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(g.left)
	if err != nil { // a file, or an empty folder
		return nil
	}
	g.left -= len(names)
	slices.Sort(names)
	part = strings.ReplaceAll(part, "[!", "[^")
	var found []string
	for _, name := range names {
		if ok, err := path.Match(part, name); err == nil && ok && (name[0] != '.' || part[0] == '.') {
			found = append(found, filepath.Join(folder, name))
		}
	}
	return found
}

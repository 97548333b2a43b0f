package config

import (
	"strconv"
	"strings"
	"unicode"
)

// nearest returns the candidate that a slip of the fingers turns into word, or "".
func nearest(word string, candidates []string) string {
	runes := []rune(strings.ToLower(word))
	if len(runes) > 40 {
		return ""
	}
	best, least := "", 1+min(3, (len(runes)+1)/3)
	for _, c := range candidates {
		if d := distance(runes, []rune(strings.ToLower(c))); d < least {
			best, least = c, d
		}
	}
	if best != "" || len(runes) < 3 {
		return best
	}
	for _, c := range candidates { // prio for priority, tracks for track
		if strings.HasPrefix(c, string(runes)) || len(c) > 2 && strings.HasPrefix(string(runes), c) {
			return c
		}
	}
	return ""
}

// distance counts the letters to insert, drop, replace or swap with their neighbour to make b of a.
func distance(a, b []rune) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// DidYouMean is a hint that names the nearest candidate to a word, or else all of them.
func DidYouMean(word string, candidates []string) string { return didYouMean(word, candidates) }

// didYouMean is a hint that names the nearest candidate, or else all of them.
func didYouMean(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return "did you mean " + strconv.Quote(near) + "?"
	}
	switch n := len(candidates); {
	case n == 0:
		return ""
	case n > 40:
		return "configs/reference.yaml has all of them"
	}
	return "known: " + strings.Join(candidates, ", ")
}

// short makes a piece of a file fit to stand in one line of a message.
func short(s string) string {
	const most = 60
	n := 0
	for i, r := range s {
		if n++; n > most {
			s = s[:i] + "..."
			break
		}
		if !unicode.IsPrint(r) {
			return short(strings.Map(func(r rune) rune {
				if unicode.IsPrint(r) {
					return r
				}
				return '?'
			}, s))
		}
	}
	return s
}

// enumerate writes "a", "a or b", "a, b or c".
func enumerate(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

// several writes "a and b", and of many names the first.
func several(words []string) string {
	const most = 4
	if n := len(words); n > most {
		return strings.Join(words[:most], ", ") + " and " + itoa(n-most) + " others"
	}
	return strings.Join(words, " and ")
}

func itoa(n int) string { return strconv.Itoa(n) }

// Package suggest finds the known name that somebody probably meant by an unknown one, for the
// errors of health files, settings and the daemon's configuration.
package suggest

import "strings"

const longest = 64 // bytes of a name that is compared at all

// Nearest gives the known name nearest to a wrong one, if one is near enough to be meant: about a
// third of its characters may differ, but for upper and lower case. Of two as near, one that the
// wrong name begins is preferred.
func Nearest(wrong string, known []string) (name string, ok bool) {
	least := min(len(wrong)/3+1, 4) + 1
	for _, k := range known {
		d := distance(strings.ToLower(wrong), strings.ToLower(k))
		if d < least || d == least && ok && strings.HasPrefix(k, wrong) {
			name, least, ok = k, d, true
		}
	}
	return name, ok
}

// distance is Levenshtein's: the characters to insert, delete or replace to make b of a.
func distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

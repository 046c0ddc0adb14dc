package rules

import (
	"fmt"
	"strings"
)

// didYouMean gives a hint with the known name nearest to a wrong one, or "".
func didYouMean(wrong string, known []string) string {
	best, least := "", min(max(1, len(wrong)/3), 4)+1
	for _, name := range known {
		d := distance(wrong, name)
		if d < least || d == least && best != "" && strings.HasPrefix(name, wrong) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("Did you mean %q?", best)
}

// distance counts the characters to insert, delete or replace to make b of a (Levenshtein).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
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

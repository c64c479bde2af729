// Package nearest finds what somebody may have meant who mistyped a name.
package nearest

import (
	"slices"
	"strings"
)

// most is how many names are worth naming.
const most = 3

// Of returns those of names that are near to name, the nearest first; none where none is.
func Of(name string, names []string) []string {
	far := func(n string) bool {
		return distance(strings.ToLower(name), strings.ToLower(n)) > max(2, min(3, len(n)/3))
	}
	near := slices.DeleteFunc(slices.Clone(names), far)
	slices.SortStableFunc(near, func(a, b string) int { return distance(name, a) - distance(name, b) })
	return near[:min(len(near), most)]
}

// distance is how many letters have to be put in, taken away or replaced to make one word the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

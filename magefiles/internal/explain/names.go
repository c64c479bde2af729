package explain

import (
	"fmt"
	"slices"
	"strings"
)

// unknown is the error for a name that there isn't: with the nearest ones, or all where none is near.
func unknown(what, name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("%s %q; there are none: go tool mage status", what, name)
	}
	near := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return distance(strings.ToLower(name), strings.ToLower(n)) > max(2, len(n)/3)
	})
	if len(near) > 0 {
		slices.SortStableFunc(near, func(a, b string) int { return distance(name, a) - distance(name, b) })
		return fmt.Errorf("%s %q; did you mean %s?", what, name, strings.Join(near[:min(len(near), 3)], ", "))
	}
	return fmt.Errorf("%s %q; there are %s", what, name, strings.Join(names, ", "))
}

// distance is how many letters have to be put in, taken away or replaced to make one word the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

package session

import (
	"cmp"
	"slices"
)

// spread gives minimum, median and maximum of values, each as show writes it.
func spread[T cmp.Ordered](values []T, show func(T) string) []string {
	v := slices.Sorted(slices.Values(values))
	return []string{show(v[0]), show(v[len(v)/2]), show(v[len(v)-1])}
}

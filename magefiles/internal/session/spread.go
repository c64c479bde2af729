package session

import (
	"cmp"
	"slices"
)

// spread gives minimum, median and maximum of values, each as show writes it.
func spread[T cmp.Ordered](values []T, show func(T) string) []string {
	return []string{show(slices.Min(values)), show(median(values)), show(slices.Max(values))}
}

func median[T cmp.Ordered](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

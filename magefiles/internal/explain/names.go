package explain

import (
	"fmt"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
)

// unknown is the error for a name that there isn't: with the nearest ones, or all where none is near.
func unknown(what, name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("%s %q; there are none: go tool mage status", what, name)
	}
	if near := nearest.Of(name, names); len(near) > 0 {
		return fmt.Errorf("%s %q; did you mean %s?", what, name, strings.Join(near, ", "))
	}
	return fmt.Errorf("%s %q; there are %s", what, name, strings.Join(names, ", "))
}

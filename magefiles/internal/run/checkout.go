package run

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// Program is what the compiled targets are called in a bundle: there they are run without the go command.
const Program = "lab"

// ownTargets refuses a program that Mage compiled from another checkout's targets. It keeps what it compiles by the magefile's contents, and
// those of two checkouts are mostly equal: run at the same moment, or with MAGEFILE_HASHFAST, one may get the other's.
func ownTargets(program, cache, compiledFrom, root string) error {
	if filepath.Dir(program) != cache || !filepath.IsAbs(compiledFrom) { // it was compiled to be run elsewhere, or says nothing of where
		return nil
	}
	from, err := os.Stat(compiledFrom)
	if err != nil {
		return nil //nolint:nilerr // that checkout is gone
	}
	here, err := os.Stat(root)
	if err != nil || os.SameFile(from, here) {
		return err
	}
	return fmt.Errorf("Mage has started the targets of %s here: it keeps in one place what it compiled for both. Nothing was changed. Run it again; if it comes back, "+
		"unset MAGEFILE_HASHFAST, or have this checkout's kept elsewhere: export MAGEFILE_CACHE=%s", compiledFrom, command.Quote(filepath.Join(root, ".mage")))
}

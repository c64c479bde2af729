package machine

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// MarkFile is the file with a lab's mark, in its state directory and in the home of each machine that existed before the lab.
const MarkFile = "mark"

// Mark tells one lab from all others, of the same name too: "ID LAB USER@HOST". A machine that existed before the lab carries it
// from before anything is done there until that is undone. The zero Mark is no lab's.
type Mark string

// ReadMark returns the mark of the lab in stateDir, "" where it has none yet.
func ReadMark(stateDir string) (Mark, error) {
	data, err := os.ReadFile(filepath.Join(stateDir, MarkFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return Mark(strings.TrimSpace(string(data))), err
}

// NewMark returns the mark of the lab in stateDir, which it makes where there is none yet.
func NewMark(stateDir, lab string) (Mark, error) {
	m, err := ReadMark(stateDir)
	if err != nil || m != "" {
		return m, err
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	name := fmt.Sprint(os.Getuid()) // that of somebody of whom nothing else is known
	if me, err := user.Current(); err == nil {
		name = me.Username
	}
	m = Mark(fmt.Sprintf("%s %s %s@%s", hex.EncodeToString(id), lab, name, host))
	return m, keep.Write(filepath.Join(stateDir, MarkFile), []byte(m+"\n"), 0o644)
}

// Other is why a machine that carries m is refused to another lab, and what to do. stateDir is that lab's.
func (m Mark) Other(name, stateDir string) string {
	lab := "another lab"
	if f := strings.Fields(string(m)); len(f) == 3 {
		lab = fmt.Sprintf("lab %s of %s", f[1], f[2])
	}
	return fmt.Sprintf("it belongs to %s; destroy that there first. If its state directory is lost, take its place: ssh %s cat %s >%s",
		lab, name, fact.MarkFile, filepath.Join(stateDir, MarkFile))
}

package computer

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// TestBecomeRoot: sudo is asked once in a process, and never for what it would write into the system's log as a wrong password.
func TestBecomeRoot(t *testing.T) {
	const variable = "LAB_TEST_BECOME_ROOT"
	if os.Getenv(variable) != "" { // this is an ordinary user
		var run command.Runner
		for range 3 {
			if err := BecomeRoot(t.Context(), &run, "tests", t.Logf); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	dir, err := os.MkdirTemp("", "become-root") //nolint:usetesting // another user can't enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const sudo = "#!/bin/sh\necho \"$1 $2\" >>\"$0.said\"\nif [ \"$2\" = -- ]; then shift 2; exec \"$@\"; fi\nexit 1\n"
	script := `cp "$1" "$2/test" && printf %s "$3" >"$2/sudo" && : >"$2/sudo.said" && chmod 0755 "$2" "$2/test" "$2/sudo" && chmod 0666 "$2/sudo.said"`
	if out, err := exec.Command("sh", "-c", script, "sh", os.Args[0], dir, sudo).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestBecomeRoot$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), variable+"=yes", "PATH="+dir+":"+os.Getenv("PATH"), "TMPDIR=/tmp")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if said, err := os.ReadFile(filepath.Join(dir, "sudo.said")); string(said) != "-n --\n" || err != nil {
		t.Errorf("sudo was called with, %v:\n%s", err, said)
	}
}

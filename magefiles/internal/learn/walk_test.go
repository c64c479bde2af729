package learn

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadersShell: it begins as the reader's own do, goes on where the lesson's is, and leaves no file.
func TestReadersShell(t *testing.T) {
	home, temp := t.TempDir(), filepath.Join(t.TempDir(), "a directory")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, own := range []bool{false, true} {
		want := "none, /var/run/docker/netns/1, two words, /usr"
		if own {
			want = "mine" + strings.TrimPrefix(want, "none")
			if err := os.WriteFile(filepath.Join(home, ".bashrc"), []byte("OWN=mine KEY=mine\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("bash", "-c", readersShell, "bash", "cd /usr\ndeclare -- KEY=\"/var/run/docker/netns/1\"\ntwo () \n{ \n    echo \"two words\"\n}\n")
		cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+temp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // an interactive shell would take the terminal of whoever tests
		cmd.Stdin = strings.NewReader("echo \"${OWN:-none}, $KEY, $(two), $PWD\"\n")
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q, not %q (%v)", got, want, err)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

func TestGuessed(t *testing.T) {
	for _, c := range []struct {
		guess, key string
		right      bool
	}{
		{"2", "2", true},
		{"I say 2.", "2", true},
		{"12", "2", false},
		{"10.1.86.65", "65", false},
		{"10.1.86.64", "10.1.86.64", true},
		{"10.1.86.64?", "10.1.86.64", true},
		{"10.1.86.64/26", "10.1.86.64", false},
		{"a /26", "/26", true},
		{"a range, /26", "/26", true},
		{"26", "/26", false},
		{"No, never", "no", true},
		{"nothing", "no", false},
		{"none", "no", false},
		{"I know", "no", false},
		{"HTTP", "HTTP", true},
		{"http from both", "HTTP", true},
		{"the plugin's", "the plugin's", true},
		{"The plugin's!", "the plugin's", true},
		{"the machine's, or the plugin's", "the plugin's", true},
		{"the other plugin's", "the plugin's", false},
		{"ee:ee:ee:ee:ee:ee", "ee:ee:ee:ee:ee:ee", true},
		{"?", "2", false},
	} {
		if got := guessed(c.guess, c.key); got != c.right {
			t.Errorf("%q for %q: %t", c.guess, c.key, got)
		}
	}
}

package target

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func completionScript(t *testing.T, shell string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Completion(&b, "../../..", shell); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "completion."+shell)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// completed are lines, and what is offered for the last word of each.
var completed = map[string]string{
	"go tool mage ver":                    "verify",
	"go tool mage destroy ver":            "verify",
	"mage dev:li":                         "dev:lint",
	"go tool mage dev:bu":                 "dev:bump",
	"go tool mage verify -t":              "-timeline",
	"go tool mage destroy -":              "-force -forget=",
	"mage graph -format=":                 "-format=mermaid -format=dot -format=svg -format=json",
	"mage graph -format=s":                "-format=svg",
	"go tool mage ssh ":                   "etcd-node calico1 calico2 all",
	"go tool mage ssh calico1 i":          "",
	"go tool mage learn the-r":            "the-route",
	"go tool mage learn -play the-lab x":  "",
	"go tool mage explain p":              "policy packet",
	"go tool mage explain packet calico2": "calico2",
	"go tool mage completion f":           "fish",
	"go tool mage -":                      "-h -l -t -v",
	"go tool mage none":                   "",
}

// TestCompletionBash asks bash itself, as it asks for a line with the cursor at its end.
func TestCompletionBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	script := completionScript(t, "bash")
	const ask = `source "$1"; shift
compopt() { :; } # is for a completion that bash itself has begun
for COMP_LINE; do
	COMP_POINT=${#COMP_LINE}
	read -ra COMP_WORDS <<<"$COMP_LINE"
	[[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
	f=$(complete -p "${COMP_WORDS[0]}" | sed 's/.*-F \([^ ]*\).*/\1/')
	"$f"
	echo "${COMPREPLY[*]}"
done`
	var lines []string
	for line := range completed {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	cmd := exec.CommandContext(t.Context(), bash, append([]string{"--norc", "-euc", ask, "bash", script}, lines...)...)
	cmd.Env, cmd.Dir = append(os.Environ(), "LAB_FILE="), t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := map[string]string{}
	for i, offered := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		got[lines[i]] = offered
	}
	want := map[string]string{}
	for line, offered := range completed {
		_, word, _ := cutLast(line, " ")
		if before, _, found := cutLast(word, ":="); found { // bash has these already
			var behind []string
			for _, o := range strings.Fields(offered) {
				behind = append(behind, o[len(before)+1:])
			}
			offered = strings.Join(behind, " ")
		}
		want[line] = offered
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +bash):\n%s", diff)
	}
}

func cutLast(s, any string) (before, after string, found bool) {
	i := strings.LastIndexAny(s, any)
	if i < 0 {
		return s, s, false
	}
	return s[:i], s[i+1:], true
}

// TestCompletionMachines: of a lab that is up its own machines are offered.
func TestCompletionMachines(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".lab", "ssh_config"), []byte("\nHost edge1\n  User x\n\nHost *\n  IdentitiesOnly yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", `source "$1"; _calico_cni_lab_choose ssh ""`, "bash", completionScript(t, "bash"))
	cmd.Env = append(os.Environ(), "LAB_FILE="+filepath.Join(dir, "lab.yaml"))
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "edge1\nall\n" {
		t.Errorf("%v: %q", err, out)
	}
}

// TestCompletionOthers: what fish and zsh offer, where they are installed.
func TestCompletionOthers(t *testing.T) {
	t.Run("fish", func(t *testing.T) {
		fish, err := exec.LookPath("fish")
		if err != nil {
			t.Skip(err)
		}
		script := completionScript(t, "fish")
		for line, want := range completed {
			cmd := exec.CommandContext(t.Context(), fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, script, line)
			cmd.Env, cmd.Dir = append(os.Environ(), "LAB_FILE=", "HOME="+t.TempDir()), t.TempDir()
			out, err := cmd.CombinedOutput()
			got, have := strings.Fields(string(out)), strings.Fields(want)
			slices.Sort(got)
			slices.Sort(have)
			if err != nil || !slices.Equal(got, have) {
				t.Errorf("%s: %v, %q, not %q", line, err, got, have)
			}
		}
	})
	t.Run("zsh", func(t *testing.T) {
		zsh, err := exec.LookPath("zsh")
		if err != nil {
			t.Skip(err)
		}
		const ask = `compdef() { : }; typeset -A _comps
compadd() { while [[ $1 != -- ]]; do shift; done; shift; print -l -- "$@" }
source "$1"; shift
words=(${(z)1}); [[ $1 == *" " ]] && words+=("")
CURRENT=${#words}
if [[ $words[1] == mage ]]; then _calico_cni_lab_mage; else _calico_cni_lab_go; fi`
		script := completionScript(t, "zsh")
		for line, want := range completed {
			cmd := exec.CommandContext(t.Context(), zsh, "-f", "-c", ask, "zsh", script, line)
			cmd.Env, cmd.Dir = append(os.Environ(), "LAB_FILE="), t.TempDir()
			out, err := cmd.CombinedOutput()
			got, have := strings.Fields(string(out)), strings.Fields(want)
			slices.Sort(got)
			slices.Sort(have)
			if err != nil || !slices.Equal(got, have) {
				t.Errorf("%s: %v, %q, not %q", line, err, got, have)
			}
		}
	})
}

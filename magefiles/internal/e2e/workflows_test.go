//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
)

type workflow struct {
	Permissions map[string]string
	Concurrency any
	Jobs        map[string]struct {
		TimeoutMinutes int    `yaml:"timeout-minutes"`
		RunsOn         string `yaml:"runs-on"`
		Steps          []struct{ Run, Uses string }
	}
}

// asRoot is how somebody who isn't root runs a target that needs root for all that it does.
const asRoot = `sudo -E env "PATH=$PATH" `

// TestWorkflows: every command in them is a target that a developer can run at home.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../../../.github/workflows/*.yml")
	if err != nil || len(files) < 3 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	pinned := regexp.MustCompile(`uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n`)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(data, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" || w.Concurrency == nil {
			t.Errorf("%s: permissions %v, concurrency %v", file, w.Permissions, w.Concurrency)
		}
		for name, job := range w.Jobs {
			if job.TimeoutMinutes == 0 || strings.HasSuffix(job.RunsOn, "latest") {
				t.Errorf("%s, job %s: no time limit, or a runner that changes by itself", file, name)
			}
			for _, step := range job.Steps {
				if step.Run == "" {
					continue
				}
				words, ours := strings.CutPrefix(strings.TrimPrefix(step.Run, asRoot), "go tool mage ")
				if err := magefile.CheckWords("../..", strings.Fields(words)); !ours || err != nil {
					t.Errorf("%s, job %s: %q is no target: %v", file, name, step.Run, err)
				}
			}
		}
		if uses := strings.Count(string(data), "uses: "); uses != len(pinned.FindAllString(string(data), -1)) {
			t.Errorf("%s: an action is not pinned by its commit", file)
		}
	}
}

func TestActionlint(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles actionlint")
	}
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=components/actionlint/go.mod", "actionlint", "-shellcheck=", "-pyflakes=")
	cmd.Dir = "../../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

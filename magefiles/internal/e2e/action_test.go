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
)

// action is what action.yml says, as far as a runner of GitHub's acts on it here.
type action struct {
	Inputs  map[string]struct{ Default string }
	Outputs map[string]struct{ Value string }
	Runs    struct {
		Using string
		Steps []struct {
			ID, Uses, Shell, Run string
			Directory            string `yaml:"working-directory"`
			Env                  map[string]string
		}
	}
}

// TestAction runs the action's own steps as a runner does, for a workflow in another repository that has a lab.yaml.
func TestAction(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	data, err := os.ReadFile(filepath.Join(l.root, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var a action
	if err := yaml.Unmarshal(data, &a); err != nil || a.Runs.Using != "composite" {
		t.Fatalf("%v, %+v", err, a)
	}
	temp := t.TempDir()
	own := l.checkout()
	outputs := filepath.Join(temp, "outputs")
	values := map[string]string{"github.action_path": own, "inputs.lab-file": "lab.yaml"}
	for name, in := range a.Inputs {
		if _, given := values["inputs."+name]; !given {
			values["inputs."+name] = in.Default
		}
	}
	expression := regexp.MustCompile(`\$\{\{ ([a-z_.-]+) \}\}`)
	resolved := func(text string) string {
		return expression.ReplaceAllStringFunc(text, func(e string) string {
			value, known := values[expression.FindStringSubmatch(e)[1]]
			if !known {
				t.Errorf("nothing is known of %s", e)
			}
			return value
		})
	}
	for _, step := range a.Runs.Steps {
		if step.Uses != "" {
			if !regexp.MustCompile(`^actions/setup-go@[0-9a-f]{40}$`).MatchString(step.Uses) {
				t.Errorf("%s isn't known here, or not pinned by its commit", step.Uses)
			}
			continue
		}
		// As a runner calls it: https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax
		cmd := exec.CommandContext(t.Context(), step.Shell, "--noprofile", "--norc", "-eo", "pipefail", "-c", step.Run)
		cmd.Dir = resolved(step.Directory)
		cmd.Env = append(os.Environ(), "GITHUB_WORKSPACE="+l.dir, "GITHUB_OUTPUT="+outputs, "RUNNER_TEMP="+temp, "MAGEFILE_CACHE="+filepath.Join(temp, "mage"))
		for name, value := range step.Env {
			cmd.Env = append(cmd.Env, name+"="+resolved(value))
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		written, err := os.ReadFile(outputs)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(written)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			values["steps."+step.ID+".outputs."+name] = value
		}
	}
	if out := must(t, "", "ssh", "-F", resolved(a.Outputs["ssh-config"].Value), "calico1", "hostname"); strings.TrimSpace(out) != "calico1" {
		t.Errorf("calico1 says %q", out)
	}
	if page, err := os.ReadFile(resolved(a.Outputs["report"].Value)); err != nil || !strings.Contains(string(page), l.name) {
		t.Errorf("the report: %d bytes, %v", len(page), err)
	}
	l.ok("destroy")
	l.nothingLeft()
}

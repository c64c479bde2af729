package ansible

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// hostile is a machine that calls its user, and where he lives, so that Ansible would run it here.
func hostile(text string) Machine {
	return Machine{Login: fact.Login{User: text, Group: text, Home: "/" + text}, Lacks: []string{text}}
}

// FuzzInventory: nothing that a machine says is a template to Ansible, and what it says arrives.
func FuzzInventory(f *testing.F) {
	for _, s := range []string{"vagrant", "{{ lookup('pipe', 'id') }}", "{% if 1 %}", "{# x #}", `"},{"`, "AD\\me", "\x1b[2J", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?") // it comes in JSON
		_, inv := inventoryOf(t, hostile(text))
		data, err := json.Marshal(inv.Meta.HostVars["calico2"])
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		if err := json.Unmarshal(data, &tree); err != nil {
			t.Fatal(err)
		}
		templates(t, "", tree)
		lacks := tree["lab_lacks"].([]any)
		if unsafe, ok := lacks[0].(map[string]any); ok {
			lacks[0] = unsafe["__ansible_unsafe"]
		}
		if len(lacks) != 1 || lacks[0] != text {
			t.Errorf("%q instead of %q", lacks, text)
		}
	})
}

// templates looks for what Ansible takes for a template.
func templates(t *testing.T, at string, v any) {
	t.Helper()
	switch v := v.(type) {
	case string:
		for _, begin := range []string{"{{", "{%", "{#"} {
			if strings.Contains(v, begin) {
				t.Errorf("%s is a template: %q", at, v)
			}
		}
	case map[string]any:
		if _, marked := v["__ansible_unsafe"]; marked {
			return
		}
		for key, one := range v {
			templates(t, at+"."+key, one)
		}
	case []any:
		for _, one := range v {
			templates(t, at+"[]", one)
		}
	}
}

// TestHostile: Ansible itself shows a machine's text as it stands.
func TestHostile(t *testing.T) {
	program, err := exec.LookPath("ansible")
	if err != nil {
		t.Skip("no Ansible to read the inventory with")
	}
	const text = "{{ 6 * 7 }}"
	_, inv := inventoryOf(t, hostile(text))
	data, err := json.Marshal(inv)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "inventory")
	if err := os.WriteFile(filepath.Join(dir, "inventory.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\ncat \"${0%/*}/inventory.json\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "calico2", "--inventory", script, "--connection", "local", "--module-name", "debug",
		"--args", "msg={{ [lab_cnitool, lab_lacks[0], lab_files.cnitool.dirs[0].owner, lab_files.cnitool.programs[0].path] | join(' ') }}")
	cmd.Env = append(os.Environ(), "ANSIBLE_LOCAL_TEMP="+dir, "ANSIBLE_NOCOLOR=1")
	out, err := cmd.CombinedOutput()
	if want := "/" + text + "/go/bin/cnitool " + text + " " + text + " /" + text + "/go/bin/cnitool"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: no %q in:\n%s", err, want, out)
	}
}

package lab

import (
	"debug/elf"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab/labtest"
)

// TestBundled: no plugin that the lab puts on the nodes is missing among those that a user's may not be called like.
func TestBundled(t *testing.T) {
	const file = "../../../components/cni/go.mod"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse(file, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"calico", "calico-ipam"}
	for _, tool := range mod.Tool {
		if name := path.Base(tool.Path); name != "cnitool" {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if !slices.Equal(bundled, want) {
		t.Errorf("%v, and %s has %v", bundled, file, want)
	}
}

// TestPlugins: what a node couldn't run, or what would be in the way of the lab's own, is refused with its line.
func TestPlugins(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	foreign := elf.EM_AARCH64
	if runtime.GOARCH == "arm64" {
		foreign = elf.EM_X86_64
	}
	itself, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(itself)
	if err != nil {
		t.Fatal(err)
	}
	other := slices.Clone(program)
	other[18] = byte(foreign) // e_machine
	conflist := func(name, kind, ipam string) string {
		return `{"cniVersion": "1.0.0", "name": "` + name + `", "plugins": [{"type": "` + kind + `", "ipam": {"type": "` + ipam + `"}}]}`
	}
	for name, text := range map[string]string{
		"mine": string(program), "script": "#!/bin/bash\n", "text": "not a program", "empty": "", "other": string(other), "ptp": string(program), "a b": "#!/bin/sh\n", "closed": "#!/bin/sh\n",
		"good.conflist": conflist("own", "mine", "host-local"), "none.conflist": conflist("own", "mein", "host-local"), "ipam.conflist": conflist("own", "mine", "dhcp"),
		"taken.conflist": conflist("net", "mine", ""), "name.conflist": conflist("../x", "mine", ""), "json.conflist": "{", "plain.conflist": `{"name": "own", "type": "mine"}`,
	} {
		mode := os.FileMode(0o755)
		if name == "closed" {
			mode = 0o644
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ value, want string }{
		{"{binaries: [mine, script], conflist: good.conflist}", ""},
		{"{binaries: [" + filepath.Join(dir, "mine") + "]}", ""},
		{"{binaries: mine}", "plugins.binaries: expected a list"},
		{"{binaries: [gone]}", "there is no file gone; paths start at the file that names them"},
		{"{binaries: [.]}", "can't be a plugin's name"},
		{"{binaries: [text]}", "text is neither a program for Linux nor a script"},
		{"{binaries: [empty]}", "empty is neither a program for Linux nor a script"},
		{"{binaries: [other]}", "other is a program for " + foreign.String() + ", and the machines are " + runtime.GOARCH},
		{"{binaries: [closed]}", "closed may not be executed; type: chmod +x closed"},
		{"{binaries: [ptp]}", "ptp is a plugin that the lab has"},
		{"{binaries: [mine, ./mine]}", "mine: duplicate of line 1"},
		{"{binaries: ['a b']}", `"a b" can't be a plugin's name`},
		{"{conflist: good.conflist}", `good.conflist: no plugin "mine" is among plugins.binaries and the lab's own; there are bandwidth, `},
		{"{binaries: [mine], conflist: none.conflist}", `no plugin "mein" is among plugins.binaries and the lab's own; did you mean "mine"?`},
		{"{binaries: [mine], conflist: ipam.conflist}", `no plugin "dhcp"`},
		{"{binaries: [mine], conflist: taken.conflist}", "taken.conflist describes a network net, and so does the lab itself"},
		{"{binaries: [mine], conflist: name.conflist}", `"../x" can't be a network's name`},
		{"{binaries: [mine], conflist: json.conflist}", "json.conflist: unexpected end of JSON input"},
		{"{binaries: [mine], conflist: plain.conflist}", `plain.conflist: "plugins" has none`},
		{"{binaries: [mine], conflist: gone.conflist}", "there is no file gone.conflist"},
	} {
		l, err := Parse("lab.yaml", []byte("plugins: "+tt.value+"\n"+labtest.Base))
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.value, err)
		case tt.want == "" && len(l.Plugins.Binaries) == 0:
			t.Errorf("%s: %+v", tt.value, l.Plugins)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), "lab.yaml:1: plugins") || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: want %q, got %v", tt.value, tt.want, err)
		}
	}
	// Paths of an extended file start there.
	if err := os.MkdirAll("labs", 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"lab.yaml": labtest.Base + "plugins: {binaries: [mine]}\n", "labs/own.yaml": "extends: ../lab.yaml\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if l, err := Load("labs/own.yaml"); err != nil || !slices.Equal(l.Plugins.Binaries, []string{"mine"}) {
		t.Errorf("%v, %+v", err, l)
	}
}

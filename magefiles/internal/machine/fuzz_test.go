package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab/labtest"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// FuzzSSHConfig: what OpenSSH reads in ssh_config is what was written there, for every lab that is accepted and whatever the
// project's directory is called.
func FuzzSSHConfig(f *testing.F) {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		f.Skip("no ssh to read it with")
	}
	for i, dir := range []string{"lab", "my lab", `a"b`, `a\b`, "100%", "%h", "${HOME}", "~", "it's", "a#b", "é", "a=b", "$HOME", "-x", "a\tb"} {
		f.Add([]byte(labtest.Base), uint8(i), "", dir)
	}
	for i, user := range []string{"me.too", `AD\\me`, "a@b", "x+y$"} {
		f.Add([]byte(labtest.Base), uint8(30+i), user, "lab")
	}
	_, public, err := NewKey("x")
	if err != nil {
		f.Fatal(err)
	}
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, nth uint8, word, name string) {
		l, err := lab.Parse("lab.yaml", labtest.Edited(data, nth, word))
		if err != nil || name == "" || name != filepath.Base(name) || !filepath.IsLocal(name) || len(name) > 100 || strings.ContainsRune(name, 0) {
			return
		}
		dir := filepath.Join(root, name)
		defer os.RemoveAll(dir)
		var all []remote.Endpoint
		for _, m := range l.Machines {
			e := remote.Endpoint{Machine: m.Name, Network: "unix", Address: filepath.Join(dir, "ssh.sock"), User: "vagrant", HostKey: public, Keys: []remote.Key{{File: filepath.Join(dir, "id")}}}
			if m.SSH.User != "" {
				e.User = m.SSH.User
			}
			if m.SSH.Key != "" {
				e.Keys = append(e.Keys, remote.Key{File: m.SSH.Key})
			}
			all = append(all, e)
		}
		if err := WriteSSHConfig(dir, all); err != nil {
			if !unwritable(dir) {
				t.Errorf("%s: %v", dir, err)
			}
			return
		}
		for _, e := range all {
			out, err := exec.CommandContext(t.Context(), ssh, "-G", "-F", filepath.Join(dir, SSHConfigFile), e.Machine).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			reads(t, string(out), e, dir)
		}
		if known, err := knownhosts.New(filepath.Join(dir, "known_hosts")); err != nil || known == nil {
			t.Errorf("known_hosts: %v", err)
		}
	})
}

// reads compares what ssh -G prints with an endpoint.
func reads(t *testing.T, out string, e remote.Endpoint, dir string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	percent := strings.NewReplacer("%", "%%")
	want := []string{"user " + e.User, "hostname localhost", "stricthostkeychecking true", "userknownhostsfile " + filepath.Join(dir, "known_hosts")}
	for _, k := range e.Keys {
		want = append(want, "identityfile "+percent.Replace(k.File))
	}
	for _, w := range want {
		if !slices.Contains(lines, w) {
			word, _, _ := strings.Cut(w, " ")
			t.Errorf("no %q in %q", w, slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, word) }))
		}
	}
	if n := strings.Count(out, "\nidentityfile "); n != len(e.Keys) {
		t.Errorf("%d keys instead of %d:\n%s", n, len(e.Keys), out)
	}
}

// FuzzPlan: a kept plan is refused or one whose names are names, and it is written as it was read.
func FuzzPlan(f *testing.F) {
	l, err := lab.Parse("lab.yaml", []byte(labtest.Base))
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	if err := NewPlan("nspawn", l).Write(dir); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, PlanFile))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(good), strings.ReplaceAll(string(good), "etcd1", "../../etc"), strings.ReplaceAll(string(good), `"lab"`, `"/"`), strings.ReplaceAll(string(good), "nspawn", "hosts"), `null`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, PlanFile), data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, exists, err := ReadPlan(dir)
		if err != nil || !exists {
			if err == nil {
				t.Error("a plan that isn't there")
			}
			return
		}
		for _, m := range p.Machines {
			if within := filepath.Join("/labs", p.Name, m.Name); filepath.Dir(filepath.Dir(within)) != "/labs" || strings.ContainsAny(m.Name+p.Name, "/\x00") {
				t.Errorf("%q of %q is in %s", m.Name, p.Name, within)
			}
		}
		p.Differences(Plan{}, false)
		if err := p.Write(dir); err != nil {
			t.Fatal(err)
		}
		if again, _, err := ReadPlan(dir); err != nil || p.Differences(again, false) != "" {
			t.Errorf("written and read again: %v, %s", err, p.Differences(again, false))
		}
	})
}

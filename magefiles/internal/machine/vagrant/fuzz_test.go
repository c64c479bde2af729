package vagrant

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

func add(f *testing.F, files ...string) {
	f.Helper()
	for _, name := range files {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
}

// FuzzMachineReadable: whatever `vagrant --machine-readable` prints, the states are states, and names and versions are what a
// line said.
func FuzzMachineReadable(f *testing.F) {
	add(f, "status-running.txt", "status-none.txt", "boxes.txt", "plugins.txt")
	for _, s := range []string{"1,,state", "1,a,state,\n", ",a,state,running", "1,,box-provider,libvirt\n1,,box-info,recipe", `1,p,plugin-version,%!(VAGRANT_COMMA)1\n`, "Vagrant 2.3.4", "9999999999999999999999.0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, out string) {
		for name, state := range parseStatus(out) {
			if name == "" || !strings.Contains(out, name) || state != machine.Running && state != machine.Stopped && state != machine.Absent {
				t.Errorf("%q is %q", name, state)
			}
		}
		parseBoxes(out)
		if v := parsePlugin(out, "vagrant-libvirt"); strings.ContainsAny(v, ",\n") || v != strings.TrimSpace(v) {
			t.Errorf("version %q", v)
		}
		if v, err := number(out); err == nil && !strings.Contains(out, v.Original()) {
			t.Errorf("version %s", v)
		}
	})
}

// FuzzSSHConfig: `vagrant ssh-config` says how to enter each machine, or it is an error.
func FuzzSSHConfig(f *testing.F) {
	add(f, "ssh-config.txt")
	const whole = "\n  HostName 127.0.0.1\n  User vagrant\n  Port 22\n  IdentityFile \"/a#b c\"\n"
	for _, s := range []string{"Host a" + whole, "Host " + whole, "Host a b" + whole, "Host !a" + whole, "Host *", "Match all" + whole, "Host a\n  Include x", "\x1b[0mHost a" + whole, "Host a" + whole + "Host b\n", "Host a\n  HostName", "Host a\n=\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, out string) {
		if strings.Contains(strings.ToLower(out), "include") {
			t.Skip("it would read files")
		}
		ways, err := parseSSHConfig(out)
		if err == nil && len(ways) == 0 {
			t.Error("no machine, and no error")
		}
		for _, w := range ways {
			if host, port, err := net.SplitHostPort(w.Address); err != nil || host == "" || port == "" || w.Machine == "" || w.User == "" || len(w.Keys) == 0 {
				t.Errorf("%+v: %v", w, err)
			}
		}
	})
}

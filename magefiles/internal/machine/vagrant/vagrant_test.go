package vagrant

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// recorded is what a real Vagrant 2.3.4 with vagrant-libvirt 0.11.2 printed.
func recorded(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestParseStatus(t *testing.T) {
	type states = map[string]machine.State
	none := recorded(t, "status-none.txt")
	for _, c := range []struct {
		name, out string
		want      states
	}{
		{"none", none, states{"etcd-node": machine.Absent, "calico1": machine.Absent, "calico2": machine.Absent}},
		{"running", recorded(t, "status-running.txt"), states{"etcd-node": machine.Running, "calico1": machine.Running, "calico2": machine.Running}},
		{"others", strings.Replace(strings.Replace(none, "calico1,state,not_created", "calico1,state,shutoff", 1),
			"calico2,state,not_created", "calico2,state,poweroff", 1),
			states{"etcd-node": machine.Absent, "calico1": machine.Stopped, "calico2": machine.Stopped}},
		{"noise", "/usr/lib/ruby: warning: already initialized constant\nx,calico1,state,running\n1,calico1\n\n", states{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, parseStatus(c.out)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSSHConfig(t *testing.T) {
	ways, err := parseSSHConfig(recorded(t, "ssh-config.txt"))
	if err != nil || len(ways) != 3 {
		t.Fatalf("%+v, %v", ways, err)
	}
	want := way{"calico1", "192.168.121.56:22", "vagrant", []string{"/home/you/lab/.vagrant/machines/calico1/libvirt/private_key"}}
	if diff := cmp.Diff(want, ways[1]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	ways, err = parseSSHConfig("\x1b[0mWARNING: User something\n==> vagrant: A new version of Vagrant is available\n" +
		"\x1b[0mHost calico1\r\n  HostName 127.0.0.1\n  User vagrant\n  Port 2200\n  IdentityFile \"/my lab/one key\"\n  IdentityFile /two\n  IdentityFile \"/lab #3/key\"\n  IdentityFile /lab#4=key\n  Unknown\n\n==> vagrant: A new version: 2.4.9!\n")
	want = way{"calico1", "127.0.0.1:2200", "vagrant", []string{"/my lab/one key", "/two", "/lab #3/key", "/lab#4=key"}}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]way{want}, ways); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, out := range map[string]string{
		"nothing": "", "noise": "User vagrant\n", "no port": "Host a\n  HostName b\n  User c\n  IdentityFile d\n",
	} {
		if ways, err := parseSSHConfig(out); err == nil {
			t.Errorf("%s: %+v", name, ways)
		}
	}
}

func TestParseBoxes(t *testing.T) {
	boxes := parseBoxes(recorded(t, "boxes.txt"))
	want := installedBox{lab.OwnBox, box.Libvirt, "20261124.095622.5", "box-libvirt-0c80b733634b8fc8"}
	if len(boxes) != 1 || boxes[0] != want {
		t.Fatalf("%+v", boxes)
	}
	boxes = append(boxes, installedBox{lab.OwnBox, box.Libvirt, "20261201.000000.0", "new"},
		installedBox{lab.OwnBox, box.VirtualBox, "20270101.000000.0", "other"}, installedBox{"debian/trixie64", box.Libvirt, "9", ""})
	if got := newest(boxes, box.Libvirt); got.recipe != "new" {
		t.Errorf("newest: %+v", got)
	}
	if got := newest(parseBoxes("1795513768,,ui,warn,There are no installed boxes! Use `vagrant box add` to add some.\n"), box.Libvirt); got.recipe != "" {
		t.Errorf("newest of none: %+v", got)
	}
}

func TestParseVersions(t *testing.T) {
	if got := parsePlugin(recorded(t, "plugins.txt"), plugin); got != "0.11.2" {
		t.Errorf("plugin: %q", got)
	}
	if got := parsePlugin(recorded(t, "plugins.txt"), "vagrant-disksize"); got != "" {
		t.Errorf("a plugin that is not there: %q", got)
	}
	for out, want := range map[string]string{
		"Vagrant 2.3.4\n": "2.3.4", "7.0.20r163906\n": "7.0.20", "7.2.4_Debianr170995\n": "7.2.4",
		"WARNING: The vboxdrv kernel module is not loaded.\n         Please install\n6.1.50r161033": "6.1.50", "Vagrant 2.4.10.dev": "2.4.10",
	} {
		if v, err := number(out); err != nil || v.String() != want {
			t.Errorf("%q: %v, %v", out, v, err)
		}
	}
	if v, err := number("command not found"); err == nil {
		t.Errorf("a version: %v", v)
	}
}

func TestCatalog(t *testing.T) {
	data, err := catalog(box.Libvirt, "1.2.0", "/cache/package.box")
	var got any
	if err != nil || json.Unmarshal(data, &got) != nil {
		t.Fatal(string(data), err)
	}
	want := map[string]any{"name": lab.OwnBox, "versions": []any{map[string]any{
		"version": "1.2.0", "providers": []any{map[string]any{"name": "libvirt", "url": "file:///cache/package.box"}},
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func v(s string) *version.Version { return version.Must(version.NewVersion(s)) }

// TestChoose: what a user reads who can't have virtual machines yet.
func TestChoose(t *testing.T) {
	l, err := lab.Load("../../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	good := facts{
		os: "linux", arch: "amd64", vagrant: v("2.4.9"), plugin: v("0.12.2"), virtualBox: v("7.1.4"),
		networks: "# comment\n* 10.0.0.0/8 192.168.0.0/16\n* 2001::/64\n", memory: 8000,
	}
	for _, c := range []struct {
		name   string
		given  string
		change func(*facts)
		want   string // the provider, or parts of the error, by |
	}{
		{"both", "", func(*facts) {}, "libvirt"},
		{"the user's choice", "virtualbox", func(*facts) {}, "virtualbox"},
		{"libvirt down", "", func(f *facts) { f.libvirt = fs.ErrNotExist }, "virtualbox"},
		{"no vagrant", "", func(f *facts) { f.vagrant = nil }, "vagrant is not installed|apt-get install vagrant"},
		{"old vagrant", "", func(f *facts) { f.vagrant = v("2.2.19") }, "this is Vagrant 2.2.19, and lab.yaml wants >= 2.3.4"},
		{"other provider", "hyperv", func(*facts) {}, "hyperv|libvirt, virtualbox"},
		{"nothing", "", func(f *facts) { f.plugin, f.virtualBox = nil, nil },
			"libvirt: the plugin vagrant-libvirt is missing|vagrant plugin install vagrant-libvirt|virtualbox: VirtualBox is not installed"},
		{"old plugin", "libvirt", func(f *facts) { f.plugin = v("0.10.8") }, "vagrant-libvirt 0.10.8, and lab.yaml wants >= 0.11.2|vagrant plugin update"},
		{"libvirt missing", "libvirt", func(f *facts) { f.libvirt = fs.ErrNotExist }, "libvirt does not run|systemctl start libvirtd"},
		{"libvirt forbidden", "libvirt", func(f *facts) { f.libvirt = fs.ErrPermission }, "may not use libvirt|usermod"},
		{"libvirt silent", "libvirt", func(f *facts) { f.libvirt = errors.New("refused") }, "can't be reached (refused)"},
		{"VirtualBox too new", "virtualbox", func(f *facts) { f.vagrant, f.virtualBox = v("2.4.3"), v("7.2.0") },
			"VirtualBox 7.2.0 is newer than Vagrant 2.4.3 drives|update Vagrant to 2.4.9"},
		{"VirtualBox too new for Debian's", "virtualbox", func(f *facts) { f.vagrant = v("2.3.4") }, "VirtualBox 7.1.4 is newer than Vagrant 2.3.4 drives"},
		{"VirtualBox too old", "virtualbox", func(f *facts) { f.virtualBox = v("6.0.24") }, "lab.yaml wants >= 6.1"},
		{"host-only range", "virtualbox", func(f *facts) { f.networks = "" }, "/etc/vbox/networks.conf|    * 192.168.4.0/24"},
		{"host-only range of others", "virtualbox", func(f *facts) { f.networks = "* 192.168.4.0/25\n" }, "    * 192.168.4.0/24"},
		{"host-only on macOS", "virtualbox", func(f *facts) { f.os, f.networks = "darwin", "" }, "virtualbox"},
		{"host-only before 6.1.28", "virtualbox", func(f *facts) { f.virtualBox, f.networks = v("6.1.26"), "" }, "virtualbox"},
		{"arm64", "libvirt", func(f *facts) { f.arch = "arm64" }, "made for amd64 only, this is arm64|vagrant.box"},
		{"memory", "libvirt", func(f *facts) { f.memory = 1000 }, "of memory, 1000 MB are free here"},
		{"memory, emulated", "libvirt", func(f *facts) { f.memory, f.emulated = 3000, true }, "of memory, 3000 MB are free here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := good
			c.change(&f)
			got, err := choose(f, l, c.given)
			if err != nil {
				got = err.Error()
			}
			for part := range strings.SplitSeq(c.want, "|") {
				if !strings.Contains(got, part) || err == nil && got != c.want {
					t.Errorf("no %q in:\n%s", part, got)
				}
			}
		})
	}
}

package vagrant

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// fakes puts programs first in PATH that note how they were called.
func fakes(t *testing.T, programs map[string]string) (calls func() string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	log := filepath.Join(dir, "calls")
	for name, script := range programs {
		text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s\n%s", name, log, script)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return func() string { data, _ := os.ReadFile(log); return string(data) }
}

func cleaned() *Provider {
	return New(machine.Options{Run: &command.Runner{}, Notice: func(string, ...any) {}, ProjectDir: "/", StateDir: "/nowhere/.lab"})
}

// TestRemoveBoxes: the lab's own go, one that only has its name and other projects' stay.
func TestRemoveBoxes(t *testing.T) {
	t.Setenv("VAGRANT_HOME", t.TempDir())
	calls := fakes(t, map[string]string{"vagrant": `[ "$2" = list ] || exit 0
for b in "calico-cni-lab libvirt 20261124.090000.0 x" "calico-cni-lab virtualbox 20261123.090000.0 x" "calico-cni-lab libvirt 7 -" "debian/bookworm64 libvirt 12 -"; do
	set -- $b
	printf '1,,box-name,%s\n1,,box-provider,%s\n1,,box-version,%s\n' $1 $2 $3
	[ $4 = - ] || printf '1,,box-info,lab-recipe,%s\n' $4
done | sed "s/lab-recipe/$KEY/"`})
	t.Setenv("KEY", box.InfoKey)
	if err := cleaned().removeBoxes(t.Context()); err != nil || calls() != "" {
		t.Errorf("Vagrant has no such box, and was asked: %v, %s", err, calls())
	}
	if err := os.MkdirAll(filepath.Join(os.Getenv("VAGRANT_HOME"), "boxes", "calico-cni-lab"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := cleaned().removeBoxes(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "vagrant box list --box-info --machine-readable\n" +
		"vagrant box remove calico-cni-lab --provider=libvirt --box-version=20261124.090000.0 --force --no-color --no-tty\n" +
		"vagrant box remove calico-cni-lab --provider=virtualbox --box-version=20261123.090000.0 --force --no-color --no-tty\n"
	if diff := cmp.Diff(want, calls()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestVolumes: which are the lab's, and that one on which a disk is based stays.
func TestVolumes(t *testing.T) {
	for name, want := range map[string]bool{
		"calico-cni-lab_vagrant_box_image_20261124.090000.0_box.img": true, "calico-cni-lab_vagrant_box_image_20261124.090000.0_box_0.img": true,
		"calico-cni-lab_vagrant_box_image_12_box.img": false, "debian-VAGRANTSLASH-bookworm64_vagrant_box_image_20261124.090000.0_box.img": false,
		"x-calico-cni-lab_vagrant_box_image_20261124.090000.0_box.img": false, "calico-cni-lab-calico1.img": false,
	} {
		if baseVolume.MatchString(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
	fakes(t, map[string]string{"virsh": `case "$4 $6" in
"pool-list "*) printf 'default\nother\n\n' ;;
"vol-list default") printf ' base.img   /pool/base.img\n disk.img   /pool/disk.img\n' ;;
"vol-list other") printf '\n' ;;
"vol-dumpxml "*) echo "<volume><target><path>/pool/disk.img</path></target><backingStore><path>/pool/base.img</path></backingStore></volume>" ;;
esac`})
	p := cleaned()
	all, err := p.volumes(t.Context())
	base, disk := volume{"default", "base.img", "/pool/base.img"}, volume{"default", "disk.img", "/pool/disk.img"}
	if err != nil || len(all) != 2 || all[0] != base || all[1] != disk {
		t.Fatalf("%+v, %v", all, err)
	}
	if user, err := p.basedOn(t.Context(), all, base); user != "disk.img" || err != nil {
		t.Errorf("%q, %v", user, err)
	}
	if user, err := p.basedOn(t.Context(), all[1:], disk); user != "" || err != nil {
		t.Errorf("nothing is based on it: %q, %v", user, err)
	}
}

// TestCacheUsers: machines of any project that are made of the lab's box, and are there.
func TestCacheUsers(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("VAGRANT_HOME", dir)
	if users, err := cacheUsers(t.Context(), machine.Options{}); err != nil || len(users) != 0 {
		t.Errorf("no Vagrant: %v, %v", users, err)
	}
	var entries []string
	for i, m := range []struct{ project, box string }{{"lab", "calico-cni-lab"}, {"lab", "calico-cni-lab"}, {"gone", "calico-cni-lab"}, {"other", "debian/bookworm64"}} {
		data := filepath.Join(dir, m.project, ".vagrant")
		entries = append(entries, fmt.Sprintf(`"%d":{"local_data_path":%q,"name":"m%d","provider":"libvirt","extra_data":{"box":{"name":%q}}}`, i, data, i, m.box))
		if id := filepath.Join(data, "machines", fmt.Sprintf("m%d", i), "libvirt", "id"); m.project != "gone" {
			if err := os.MkdirAll(filepath.Dir(id), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(id, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	index := filepath.Join(dir, "data", "machine-index", "index")
	if err := os.MkdirAll(filepath.Dir(index), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(index, []byte(`{"version":1,"machines":{`+strings.Join(entries, ",")+`}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	users, err := cacheUsers(t.Context(), machine.Options{})
	if want := []string{filepath.Join(dir, "lab")}; !cmp.Equal(users, want) || err != nil {
		t.Errorf("%v, %v", users, err)
	}
}

package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-version"
	"gopkg.in/yaml.v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab/labtest"
)

// FuzzParse: a lab or faults, never both; each fault has a line of the file; and a lab that is written down and read again is
// the same lab.
func FuzzParse(f *testing.F) {
	labtest.Add(f, "../../..", "testdata")
	f.Add([]byte("a: &a [*a]"), uint8(0), "")
	f.Add([]byte("machines: {}\npool: []"), uint8(0), "")
	f.Fuzz(func(t *testing.T, data []byte, nth uint8, word string) {
		data = labtest.Edited(data, nth, word)
		l, err := Parse("lab.yaml", data)
		if err != nil {
			if l != nil {
				t.Errorf("a lab all the same: %v", err)
			}
			faultsHaveLines(t, data, err)
			return
		}
		written := write(t, l)
		again, err := Parse("lab.yaml", written)
		if err != nil {
			t.Fatalf("written down, it can't be read: %v\n%s", err, written)
		}
		if diff := cmp.Diff(l, again, cmpopts.EquateComparable(l.Subnet, l.Gateway()), sameVersion, sameConstraints); diff != "" {
			t.Errorf("written down, it is another lab (-before +after):\n%s\n%s", diff, written)
		}
	})
}

func faultsHaveLines(t *testing.T, data []byte, err error) {
	t.Helper()
	var all *Errors
	if !errors.As(err, &all) || len(all.Faults) == 0 {
		t.Fatalf("no faults: %v", err)
	}
	last := strings.Count(string(data), "\n") + 1
	for _, fault := range all.Faults {
		if fault.Line < 1 || fault.Line > last || fault.Text == "" {
			t.Errorf("line %d of %d: %q", fault.Line, last, fault.Text)
		}
	}
}

var (
	sameVersion     = cmp.Comparer(func(a, b *version.Version) bool { return a.Equal(b) })
	sameConstraints = cmp.Comparer(func(a, b version.Constraints) bool { return a.String() == b.String() })
)

// write writes a lab down as YAML.
func write(t *testing.T, l *Lab) []byte {
	t.Helper()
	type object = map[string]any
	var machines []object
	for _, m := range l.Machines {
		o := object{"name": m.Name, "role": string(m.Role), "address": m.Address.String(), "memory": m.Memory, "cpus": m.CPUs}
		if m.Role == RoleCalico {
			o["workloads"] = object{"count": m.Workloads.Count, "labels": m.Workloads.Labels}
		}
		if m.AS > 0 {
			o["asNumber"] = m.AS
		}
		if m.SSH != (SSH{}) {
			s := object{"address": m.SSH.Address, "user": m.SSH.User, "key": m.SSH.Key, "hostKey": m.SSH.HostKey}
			if m.SSH.Port > 0 {
				s["port"] = m.SSH.Port
			}
			o["ssh"] = s
		}
		machines = append(machines, o)
	}
	bgp := object{"mesh": l.BGP.Mesh, "reflectors": l.BGP.Reflectors}
	if l.BGP.AS > 0 {
		bgp["asNumber"] = l.BGP.AS
	}
	allowed := object{}
	for name, c := range l.Allowed {
		allowed[name] = c.String()
	}
	all := object{
		"name": l.Name, "underlay": object{"subnet": l.Subnet.String()}, "machines": machines, "network": l.Network,
		"bgp": bgp,
		"pool": object{
			"name": l.Pool.Name, "cidr": l.Pool.CIDR.String(), "blockSize": l.Pool.BlockSize, "ipipMode": l.Pool.IPIPMode, "vxlanMode": l.Pool.VXLANMode,
			"natOutgoing": l.Pool.NATOutgoing, "disabled": l.Pool.Disabled,
		},
		"plugins":  object{"binaries": l.Plugins.Binaries, "conflist": l.Plugins.Conflist},
		"versions": object{"debian": l.Versions.Debian, "go": l.Versions.Go.Original(), "source": l.Versions.Source},
		"vagrant": object{
			"box": l.Vagrant.Box, "boxVersion": l.Vagrant.BoxVersion,
			"version": l.Vagrant.Version.String(), "libvirt": l.Vagrant.Libvirt.String(), "virtualbox": l.Vagrant.VirtualBox.String(),
		},
		"allowed": allowed,
	}
	if l.Bundle != "" {
		all["bundle"] = l.Bundle
	}
	data, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzVagrantfile: of every lab that is accepted the Vagrantfile, which has a YAML reader of its own, reads the same
// machines.
func FuzzVagrantfile(f *testing.F) {
	ruby := newRuby(f)
	labtest.Add(f, "../../..", "testdata")
	f.Fuzz(func(t *testing.T, data []byte, nth uint8, word string) {
		data = labtest.Edited(data, nth, word)
		if l, err := Parse("lab.yaml", data); err == nil && len(l.Files) == 1 {
			if diff := cmp.Diff(vagrantSees(l), ruby.reads(t, data)); diff != "" {
				t.Errorf("(-lab.yaml +Vagrantfile):\n%s", diff)
			}
		}
	})
}

// vagrantSees is what the Vagrantfile is to make of a lab, in testdata/vagrantfile.rb's words.
func vagrantSees(l *Lab) string {
	var b strings.Builder
	fmt.Fprintf(&b, "box=%q\n", l.Vagrant.Box)
	if l.Vagrant.BoxVersion != "" {
		fmt.Fprintf(&b, "box_version=%q\n", l.Vagrant.BoxVersion)
	}
	for _, m := range l.Machines {
		fmt.Fprintf(&b, "define=%q\nhostname=%q\nip=%q\nnetwork=%q\nprefix=%q\n", m.Name, m.Name, m.Address, l.Name, l.Name+"-")
		fmt.Fprintf(&b, "libvirt=%d,%d\nvirtualbox=%d,%d,%q\n", m.Memory, m.CPUs, m.Memory, m.CPUs, l.Name+"-"+m.Name)
	}
	return b.String()
}

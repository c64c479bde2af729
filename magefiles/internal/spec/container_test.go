package spec

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

func TestFlags(t *testing.T) {
	s := tutorial(t)
	var b strings.Builder
	for _, c := range []Container{s.Etcd(s.Lab.Etcd()), s.Node(node(t, s)), s.Workload(node(t, s), 1)} {
		b.WriteString("docker create")
		for _, arg := range c.Flags() {
			if strings.HasPrefix(arg, "--") || arg == c.Image.Ref {
				b.WriteString(" \\\n   ")
			}
			b.WriteString(" " + command.Quote(arg))
		}
		b.WriteString("\n\n")
	}
	golden(t, "flags", b.String())
}

func TestContainers(t *testing.T) {
	s := tutorial(t)
	var got []string
	for _, m := range s.Lab.Machines {
		for _, c := range s.Containers(m) {
			got = append(got, m.Name+": "+c.Part+" "+c.Name)
		}
	}
	want := []string{
		"etcd-node: etcd etcd", "calico1: calico-node calico-release-v3.31", "calico1: workload workload",
		"calico2: calico-node calico-release-v3.31", "calico2: workload workload",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// running is a container as Docker shows it after `docker create` with c's flags.
func running(c Container) (is fact.Container) {
	is.ID, is.Name, is.State.Status = "id of "+c.Name, "/"+c.Name, "running"
	is.Config.Image, is.Config.Hostname, is.Config.Cmd, is.Config.StopTimeout = c.Image.Ref, c.Hostname, slices.Clone(c.Cmd), c.Grace
	is.Config.Labels = map[string]string{fact.LabelPart: c.Part, fact.LabelImage: c.Image.ID}
	if c.CA != "" {
		is.Config.Labels[fact.LabelCA] = c.CA
	}
	is.Config.Env = append(slices.Clone(c.Env), "PATH=/usr/bin:/bin") // the image's
	is.HostConfig.NetworkMode, is.HostConfig.RestartPolicy.Name, is.HostConfig.Init = c.Network, "unless-stopped", c.Init
	is.HostConfig.Binds, is.HostConfig.CapAdd = slices.Clone(c.Volumes), slices.Clone(c.Caps)
	if !c.Seccomp {
		is.HostConfig.SecurityOpt = []string{"seccomp=unconfined"}
	}
	if !c.SysWrite {
		is.HostConfig.MaskedPaths = []string{"/proc/kcore"}
	}
	return is
}

// TestDiffers: each field of a container that Docker shows, changed alone, is what differs.
func TestDiffers(t *testing.T) {
	s := tutorial(t)
	etcd, calico, workload := s.Etcd(s.Lab.Etcd()), s.Node(node(t, s)), s.Workload(node(t, s), 1)
	for _, c := range []struct {
		change string
		c      Container
		do     func(*fact.Container)
		want   string // "": nothing
	}{
		{"none", etcd, func(*fact.Container) {}, ""},
		{"none", calico, func(*fact.Container) {}, ""},
		{"none", workload, func(*fact.Container) {}, ""},
		{"another name", etcd, func(is *fact.Container) { is.Name = "/etcd2" }, "name"},
		{"another image", etcd, func(is *fact.Container) { is.Config.Labels[fact.LabelImage] = "sha256:old" }, "image"},
		{"no label", etcd, func(is *fact.Container) { is.Config.Labels = nil }, "image, certificate authority"},
		{"another command", etcd, func(is *fact.Container) { is.Config.Cmd[2] = "other" }, "command"},
		{"no command", calico, func(is *fact.Container) { is.Config.Cmd = nil }, "command"},
		{"another value", calico, func(is *fact.Container) { is.Config.Env[1] = "IP=autodetect" }, "environment"},
		{"a variable less", calico, func(is *fact.Container) { is.Config.Env = is.Config.Env[1:] }, "environment"},
		{"a variable more", calico, func(is *fact.Container) { is.Config.Env = append(is.Config.Env, "SVDIR=/etc/service/enabled") }, ""},
		{"variables in another order", calico, func(is *fact.Container) { slices.Reverse(is.Config.Env) }, ""},
		{"a volume less", calico, func(is *fact.Container) { is.HostConfig.Binds = is.HostConfig.Binds[1:] }, "volumes"},
		{"a volume more", workload, func(is *fact.Container) { is.HostConfig.Binds = []string{"/:/host"} }, "volumes"},
		{"a volume that can be written to", calico, func(is *fact.Container) { is.HostConfig.Binds[3] = "/lib/modules:/lib/modules" }, "volumes"},
		{"volumes in another order, :rw written out", calico, func(is *fact.Container) {
			slices.Reverse(is.HostConfig.Binds)
			is.HostConfig.Binds[0] += ":rw"
		}, ""},
		{"a capability less", calico, func(is *fact.Container) { is.HostConfig.CapAdd = is.HostConfig.CapAdd[1:] }, "capabilities"},
		{"a capability more", workload, func(is *fact.Container) { is.HostConfig.CapAdd = []string{"NET_ADMIN"} }, "capabilities"},
		{"capabilities with CAP_", calico, func(is *fact.Container) {
			for i, c := range is.HostConfig.CapAdd {
				is.HostConfig.CapAdd[i] = "CAP_" + c
			}
		}, ""},
		{"system calls are filtered", calico, func(is *fact.Container) { is.HostConfig.SecurityOpt = nil }, "seccomp profile"},
		{"system calls aren't filtered", workload, func(is *fact.Container) { is.HostConfig.SecurityOpt = []string{"seccomp=unconfined"} }, "seccomp profile"},
		{"/proc is masked", calico, func(is *fact.Container) { is.HostConfig.MaskedPaths = []string{"/proc/kcore"} }, "system paths"},
		{"/proc isn't masked", workload, func(is *fact.Container) { is.HostConfig.MaskedPaths = nil }, "system paths"},
		{"a network of Docker's", workload, func(is *fact.Container) { is.HostConfig.NetworkMode = "bridge" }, "network"},
		{"another host name", workload, func(is *fact.Container) { is.Config.Hostname = "workload" }, "host name"},
		{"the machine's host name", calico, func(is *fact.Container) { is.Config.Hostname = "calico1" }, ""},
		{"no restart", etcd, func(is *fact.Container) { is.HostConfig.RestartPolicy.Name = "no" }, "restart policy"},
		{"no init", workload, func(is *fact.Container) { is.HostConfig.Init = false }, "init"},
		{"an init", etcd, func(is *fact.Container) { is.HostConfig.Init = true }, "init"},
		{"more time to end in", workload, func(is *fact.Container) { is.Config.StopTimeout = 10 }, "stop timeout"},
		{"another state", workload, func(is *fact.Container) { is.State.Status, is.RestartCount, is.ID = "exited", 3, "x" }, ""},
	} {
		is := running(c.c)
		c.do(&is)
		if got := strings.Join(c.c.Differs(is), ", "); got != c.want {
			t.Errorf("%s, %s: differs in %q, want %q", c.c.Name, c.change, got, c.want)
		}
	}
}

// TestDiffersKnowsAll: whatever lab.yaml or the project wants otherwise of a container, the one that is there differs, and
// what is made then doesn't.
func TestDiffersKnowsAll(t *testing.T) {
	s := tutorial(t)
	old := s.Workload(node(t, s), 1)
	changes := map[string]func(*Container){
		"Name":     func(c *Container) { c.Name += "2" },
		"Image":    func(c *Container) { c.Image = artifact.Image{Ref: c.Image.Ref, ID: "sha256:new"} },
		"CA":       func(c *Container) { c.CA = "sum" },
		"Network":  func(c *Container) { c.Network = "host" },
		"Hostname": func(c *Container) { c.Hostname += "2" },
		"Env":      func(c *Container) { c.Env = []string{"A=b"} },
		"Volumes":  func(c *Container) { c.Volumes = []string{"/a:/b"} },
		"Caps":     func(c *Container) { c.Caps = []string{"NET_RAW"} },
		"Seccomp":  func(c *Container) { c.Seccomp = !c.Seccomp },
		"SysWrite": func(c *Container) { c.SysWrite = !c.SysWrite },
		"Init":     func(c *Container) { c.Init = !c.Init },
		"Grace":    func(c *Container) { c.Grace++ },
		"Cmd":      func(c *Container) { c.Cmd = append(slices.Clone(c.Cmd), "x") },
		"Part":     nil, // by it a container is found,
		"Several":  nil, // and by its name, where this says so
	}
	for i := range reflect.TypeFor[Container]().NumField() {
		field := reflect.TypeFor[Container]().Field(i).Name
		change, known := changes[field]
		if !known {
			t.Errorf("%s: this test doesn't know the field", field)
		}
		if change == nil {
			continue
		}
		c := old
		change(&c)
		if got := c.Differs(running(old)); len(got) != 1 {
			t.Errorf("%s is wanted otherwise: differs in %v", field, got)
		}
		if got := c.Differs(running(c)); len(got) != 0 {
			t.Errorf("%s: what was made differs in %v", field, got)
		}
		if slices.Equal(c.Flags(), old.Flags()) {
			t.Errorf("%s: docker create isn't told", field)
		}
	}
}

func TestFaults(t *testing.T) {
	s := tutorial(t)
	c := s.Etcd(s.Lab.Etcd())
	good, stopped, other := running(c), running(c), running(c)
	stopped.State.Status = "exited"
	other.Name, other.Config.Cmd = "/old-etcd", nil
	foreign := good
	foreign.Config.Labels = map[string]string{fact.LabelPart: "someone's"}
	for _, tc := range []struct {
		name       string
		containers []fact.Container
		running    string // what it says where it has to run
		there      string // and where it doesn't
	}{
		{"as it should be", []fact.Container{good}, "", ""},
		{"none", nil, "there is no container etcd", "there is no container etcd"},
		{"one of the same name that isn't the lab's", []fact.Container{foreign}, "there is no container etcd", "there is no container etcd"},
		{"stopped", []fact.Container{stopped}, "container etcd is exited", ""},
		{"another", []fact.Container{other}, "container old-etcd has another name, command", "container old-etcd has another name, command"},
		{"an old one beside it", []fact.Container{good, other}, "container old-etcd has another name, command", "container old-etcd has another name, command"},
	} {
		d := fact.Docker{Containers: tc.containers}
		if runs := len(tc.containers) > 0 && tc.name != "stopped" && tc.containers[0].Config.Labels[fact.LabelPart] == c.Part; c.Runs(d) != runs {
			t.Errorf("%s: runs %t", tc.name, c.Runs(d))
		}
		if got := c.Faults(d, true); got != tc.running {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.running)
		}
		if got := c.Faults(d, false); got != tc.there {
			t.Errorf("%s, needn't run: %q, want %q", tc.name, got, tc.there)
		}
	}
}

// TestVolumesAreNoted: what Docker makes for calico-node's volumes is what undo takes back.
func TestVolumesAreNoted(t *testing.T) {
	s := tutorial(t)
	var from []string
	for _, v := range s.Node(lab.Machine{Name: "calico1"}).Volumes {
		if dir, _, _ := strings.Cut(v, ":"); !strings.HasPrefix(dir, PKIDir) { // a certificate's is there with its files
			from = append(from, dir)
		}
	}
	var noted []string
	for _, d := range NodeDirs {
		noted = append(noted, strings.TrimSuffix(d, "/"))
	}
	slices.Sort(from)
	slices.Sort(noted)
	if diff := cmp.Diff(from, noted); diff != "" {
		t.Errorf("volumes and noted directories (-volumes +noted):\n%s", diff)
	}
}

// TestRouter: what a router has is BIRD with its configuration, and nothing of Calico's.
func TestRouter(t *testing.T) {
	l, err := lab.Parse("lab.yaml", []byte(strings.Replace(fmt.Sprintf(labFile, "lab", "192.168.4", "test-calico", "my.ippool-1"),
		"network:", "  - {name: tor, role: router, address: 192.168.4.8, asNumber: 64513}\nbgp: {asNumber: 64600}\nnetwork:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	old := tutorial(t)
	s, err := New(l, old.Pins, old.Artifacts)
	if err != nil {
		t.Fatal(err)
	}
	tor, _ := l.Machine("tor")
	if n := len(s.CertificateFiles(tor)) + len(s.Common(tor.Role)); n > 0 || len(s.WithCalicoctl()) != 3 {
		t.Errorf("%d files of Calico's; calicoctl is on %d machines", n, len(s.WithCalicoctl()))
	}
	if cs := s.Containers(tor); len(cs) != 1 || !reflect.DeepEqual(cs[0], s.Router()) {
		t.Errorf("%+v", cs)
	}
	golden(t, "router", describe(s.CalicoFiles(tor))+"docker create "+command.Quote(s.Router().Flags()...)+"\n")
	if got := Request(l, tor, false); got.BIRD != "/run/bird/bird.ctl" || !slices.Equal(got.Dirs, []string{"/etc/bird"}) || got.Dial != nil {
		t.Errorf("what is looked at: %+v", got)
	}
	if want := []string{"ippools/my.ippool-1", "bgppeers/calico-cni-lab.router.tor", "bgpconfigurations/default"}; !slices.Equal(s.Resources(), want) {
		t.Errorf("resources: %q", s.Resources())
	}
}

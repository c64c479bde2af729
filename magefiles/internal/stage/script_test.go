package stage

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

func TestScript(t *testing.T) {
	var s script
	s.cmd("docker", "exec", "a b", "sh", "-c", `echo "it's $HOME"`)
	s.line("key=$(%s)", "id")
	want := `docker exec 'a b' sh -c 'echo "it'\''s $HOME"' >/dev/null` + "\nkey=$(id)\n"
	if diff := cmp.Diff(want, s.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// No connection is used where there is nothing to do.
	if err := new(script).run(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestEnsure: what is there as it should be isn't touched, what only stands still is started, and what is otherwise is made anew.
func TestEnsure(t *testing.T) {
	healthy := recording(t, healthyFile)
	e := envOf(t, healthy, "")
	m, _ := e.Lab.Machine("calico1")
	c := e.Workload(m, 1)
	create := command.Quote(append([]string{"docker", "create"}, c.Flags()...)...) + " >/dev/null\n"
	const start, stop = "docker start workload >/dev/null\n", "docker rm --force "
	for _, tc := range []struct {
		name string
		do   func(*fact.Container)
		want func(id string) string
	}{
		{"as it should be", func(*fact.Container) {}, func(string) string { return "" }},
		{"stopped", func(c *fact.Container) { c.State.Status = "exited" }, func(string) string { return start }},
		{"made, never started", func(c *fact.Container) { c.State.Status = "created" }, func(string) string { return start }},
		{"another image", func(c *fact.Container) { c.Config.Labels[fact.LabelImage] = "sha256:old" }, func(id string) string { return stop + id + " >/dev/null\n" + create + start }},
		{"not the lab's, whatever its name", func(c *fact.Container) { c.Config.Labels = nil }, func(string) string { return create + start }},
		{"another part", func(c *fact.Container) { c.Config.Labels[fact.LabelPart] = "other" }, func(string) string { return create + start }},
	} {
		f := recording(t, healthyFile)
		id := ""
		at("calico1", container(fact.PartWorkload, func(c *fact.Container) { id = c.ID; tc.do(c) }))(f)
		var s script
		s.ensure(c, f.Machines["calico1"].Docker.Value)
		if diff := cmp.Diff(tc.want(id), s.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestCreate removes every container of the part, and nothing else.
func TestCreate(t *testing.T) {
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	m, _ := e.Lab.Machine("calico1")
	have := f.Machines["calico1"].Docker.Value
	second := have.Containers[0]
	second.ID, second.Name = "half", "/half-made"
	have.Containers = append(have.Containers, second)
	var s script
	s.create(e.Node(m), have)
	var removed []string
	for line := range strings.Lines(s.String()) {
		if id, ok := strings.CutPrefix(line, "docker rm --force "); ok {
			removed = append(removed, strings.Fields(id)[0])
		}
	}
	if diff := cmp.Diff([]string{have.Containers[0].ID, "half"}, removed); diff != "" {
		t.Errorf("removed (-want +got):\n%s", diff)
	}
}

func TestDiffering(t *testing.T) {
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	at("calico1", change("/opt/cni/bin/portmap", func(f *fact.File) { f.SHA256 = "other" }))(f)
	at("calico1", file("/opt/cni/bin/calico-ipam", fact.File{}))(f)
	at("calico1", change("~/go/bin/cnitool", func(f *fact.File) { f.Mode = "644" }))(f)
	files := append(e.PluginFiles(), append(e.CnitoolFiles(), e.Conflist(e.Nodes()[0]))...)
	var got []string
	for _, f := range differing(files, f.Machines["calico1"]) {
		got = append(got, strings.TrimSpace(f.Path+" "+f.Owner))
	}
	// With the paths and the owner that they have on the machine.
	want := []string{"/opt/cni/bin/calico-ipam", "/opt/cni/bin/portmap", "/home/vagrant/go/bin/cnitool vagrant:vagrant"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// No connection is used where nothing differs.
	if err := e.put(t.Context(), nil, files, f.Machines["calico2"]); err != nil {
		t.Error(err)
	}
	if got := differing([]remote.File{{Path: "/etc/new"}}, f.Machines["calico2"]); len(got) != 1 {
		t.Errorf("a file that nobody has looked at: %v", got)
	}
}

// TestDetach: interfaces of the workload and of sandboxes that are gone are taken back, those of other containers are not.
func TestDetach(t *testing.T) {
	f := recording(t, healthyFile)
	m := f.Machines["calico1"]
	own := m.Attachments.Value[0].NetNS
	m.Attachments.Value = append(m.Attachments.Value,
		fact.Attachment{Network: "old", NetNS: own, Live: true, ContainerID: "cnitool-1"},
		fact.Attachment{Network: "test-calico", NetNS: "/netns/other", Live: true, ContainerID: "cnitool-2"},
		fact.Attachment{Network: "test-calico", NetNS: "/netns/gone", ContainerID: "cnitool-3"},
		fact.Attachment{Network: "theirs", NetNS: "/netns/theirs", ContainerID: "cnitool-4"},
		fact.Attachment{Network: "test-calico", NetNS: "/netns/nerdctl", ContainerID: "5f3a"})
	old := spec.ConfDir + "/10-old.conflist"
	m.Owned.Value = append(m.Owned.Value, old)
	m.Files.Value[old] = fact.File{}
	e := envOf(t, f, "")
	var s script
	detach(&s, e, m, every)
	const del = "env CNI_PATH=/opt/cni/bin NETCONFPATH=/etc/cni/net.d /home/vagrant/go/bin/cnitool del "
	var got []string
	for line := range strings.Lines(s.String()) {
		if args, ok := strings.CutPrefix(line, del); ok {
			got = append(got, strings.TrimSpace(args))
		}
	}
	if diff := cmp.Diff([]string{"test-calico " + own, "old " + own, "test-calico /netns/gone"}, got); diff != "" {
		t.Errorf("cnitool del (-want +got):\n%s", diff)
	}
	// No workload runs: its sandbox is gone, too, and with it what was live.
	at("calico1", container(fact.PartWorkload, func(c *fact.Container) { c.NetworkSettings.SandboxKey = "" }))(f)
	var none script
	m.Attachments.Value = []fact.Attachment{{Network: "test-calico", NetNS: "/netns/other", Live: true, ContainerID: "cnitool-2"}}
	detach(&none, e, m, every)
	for line := range strings.Lines(none.String()) {
		if strings.Contains(line, " del ") && !strings.HasPrefix(line, `[ "$(stat -f -c %T /netns/other 2>/dev/null)" = nsfs ] || `+del) {
			t.Errorf("somebody else's: %s", line)
		}
	}
}

// TestWaitForNode: a node that has no name in time isn't plumbed, and may be the next time.
func TestWaitForNode(t *testing.T) {
	for _, name := range []string{"", "calico1\n"} {
		dir := t.TempDir()
		for file, text := range map[string]string{"nodename": name, "mtu": "1500\n"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		wait := strings.NewReplacer("/var/lib/calico/", dir+"/", "{1..600}", "{1..2}").Replace(waitForNode)
		_, err := (&command.Runner{}).Run(t.Context(), command.Cmd{Args: []string{"bash", "-euc", wait}})
		var tooEarly lateError
		switch err = late(err); {
		case name == "" && (!errors.As(err, &tooEarly) || !strings.Contains(err.Error(), "has not named this node yet")):
			t.Errorf("without a name: %v", err)
		case name != "" && err != nil:
			t.Errorf("with a name: %v", err)
		}
	}
}

// TestToPlumb: a workload is plumbed where something of it is unmet; after lost packets all of them are.
func TestToPlumb(t *testing.T) {
	e := envOf(t, recording(t, healthyFile), "")
	for name, c := range map[string]struct {
		unmet []string
		want  string
	}{
		"nothing":             {nil, ""},
		"one workload":        {[]string{"workload/calico2"}, "calico2"},
		"an address":          {[]string{"address/calico1"}, "calico1"},
		"packets of one node": {[]string{"reach/calico1"}, "calico1 calico2"},
		"another stage's":     {[]string{"bgp/calico1"}, ""},
	} {
		var j Job
		for _, id := range c.unmet {
			kind, machine, _ := strings.Cut(id, "/")
			j.Unmet = append(j.Unmet, check.Result{ID: id, Machine: machine, State: check.Broken, Probe: kind == "reach"})
		}
		var got []string
		for _, m := range e.toPlumb(j) {
			got = append(got, m.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// TestUnseenStays: a workload of which something can't be seen isn't plumbed anew, nor is calico-node stopped.
func TestUnseenStays(t *testing.T) {
	for i := range reflect.TypeFor[fact.Machine]().NumField() {
		field := reflect.TypeFor[fact.Machine]().Field(i).Name
		f := recording(t, healthyFile)
		e := envOf(t, f, "")
		m := f.Machines["calico1"]
		if field == "Docker" || !forget(&m, field) { // without Docker nothing is done on a machine
			continue
		}
		f.Machines["calico1"] = m
		r := check.Run(Conditions(e, []Stage{plumb()}), f)
		j := Job{Facts: f, Unmet: slices.DeleteFunc(unmet(r), func(res check.Result) bool { return res.Probe })}
		if all := e.toPlumb(j); len(all) > 0 {
			t.Errorf("%s can't be seen, and %s is plumbed", field, all[0].Name)
		}
		node, _ := e.Lab.Machine("calico1")
		if e.faulty(node, 1, m, f) || e.certificatesGone(node, m) {
			t.Errorf("%s can't be seen, and is taken for a fault", field)
		}
	}
}

// TestAddresses: a workload that is to have a certain address lacks it where it has another.
func TestAddresses(t *testing.T) {
	f := recording(t, healthyFile)
	e := envOf(t, f, "")
	for want, broken := range map[string]bool{"10.1.127.192": false, "10.1.127.200": true} {
		e.Addresses = map[string]netip.Addr{"calico1": netip.MustParseAddr(want)}
		r := check.Run(Conditions(e, []Stage{plumb()}), f)
		is := slices.ContainsFunc(r.Results, func(res check.Result) bool { return res.ID == "address/calico1" && res.State == check.Broken })
		if is != broken {
			t.Errorf("%s is wanted: broken %t, not %t", want, is, broken)
		}
	}
}

func TestJob(t *testing.T) {
	j := Job{Unmet: []check.Result{{ID: "mesh"}, {ID: "bgp/calico1", Machine: "calico1"}}}
	for _, c := range []struct {
		got, want bool
	}{
		{j.Has("calico1", "bgp"), true}, {j.Has("calico1", "felix", "bgp"), true}, {j.Has("calico1", "felix"), false}, {j.Has("calico2", "bgp"), false},
		{j.Has("", "mesh"), true}, {j.Has("calico1", "mesh"), false}, {j.Has("calico1"), false}, {j.On("calico1"), true}, {j.On("calico2"), false},
	} {
		if c.got != c.want {
			t.Errorf("%+v", c)
		}
	}
}

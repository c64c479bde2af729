package stage

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact/recorded"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/pki"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

// healthyFile was recorded from a lab by testdata/lab.yaml, of which everything worked: facts.json of the archive that
// `go tool mage logs` writes, with what the look program's probes answered.
const healthyFile = "testdata/healthy.json.gz"

// recording reads recorded facts, with what they lack because they are older than what the lab is to be today.
func recording(t *testing.T, file string) *fact.Lab {
	t.Helper()
	f := recorded.Lab(t, file)
	v := version.Must(version.NewVersion("3.31.0"))
	s, err := spec.New(recordedLab(t), artifact.Pins{Calico: v}, spec.Artifacts{})
	if err != nil {
		t.Fatal(err)
	}
	issue(s)
	for name, m := range f.Machines {
		for name, is := range m.Files.Value {
			switch is.SHA256 {
			case recordedConflist:
				is.SHA256 = s.Conflist(s.Nodes()[0]).Sum()
			case recordedCfg:
				is.SHA256 = s.CalicoctlFiles()[1].Sum()
			}
			m.Files.Value[name] = is
		}
		on, _ := s.Lab.Machine(name)
		if on.Role == lab.RoleEtcd && m.Auth.Unknown == "" && m.Auth.Value.Users == nil {
			m.Auth = fact.Known(spec.EtcdAuth())
			f.Machines[name] = m
		}
		before := !slices.ContainsFunc(slices.Collect(maps.Keys(m.Files.Value)), func(path string) bool { return strings.HasPrefix(path, spec.PKIDir) })
		for _, file := range s.CertificateFiles(on) {
			is, there := m.Files.Value[file.Path]
			if before && m.Files.Value != nil {
				is, there = fact.File{Mode: fmt.Sprintf("%o", file.Mode), Owner: "root:root"}, true
			}
			if is.SHA256 = file.SHA256; there {
				m.Files.Value[file.Path] = is
			}
		}
		for i := range m.Docker.Value.Containers {
			later(&m.Docker.Value.Containers[i], s, on)
		}
	}
	return f
}

// later gives a recorded container what the lab's had not yet when it was recorded: certificates, among others.
func later(is *fact.Container, s *spec.Spec, on lab.Machine) {
	c := s.Etcd(s.Lab.Etcd())
	switch is.Config.Labels[fact.LabelPart] {
	case fact.PartEtcd:
		is.Config.Cmd, is.Config.Env = c.Cmd, append(is.Config.Env, c.Env...)
	case fact.PartNode:
		c = s.Node(on)
		is.Config.Env = append(is.Config.Env, c.Env...)
	default:
		return
	}
	is.Config.Labels[fact.LabelCA] = c.CA
	for _, v := range c.Volumes {
		if strings.HasPrefix(v, spec.PKIDir) && !slices.Contains(is.HostConfig.Binds, v) {
			is.HostConfig.Binds = append(is.HostConfig.Binds, v)
		}
	}
}

// issue gives a spec certificates that are made up.
func issue(s *spec.Spec) {
	until := time.Date(2027, 11, 28, 12, 0, 0, 0, time.UTC)
	s.Certificates = pki.Set{CA: pki.Pair{Cert: "/lab/pki/ca.crt", CertSum: "sum of ca", Until: until}, Issued: map[string]pki.Pair{}}
	for _, subject := range spec.Subjects(s.Lab) {
		s.Certificates.Issued[subject.Name] = pki.Pair{
			Cert: "/lab/pki/" + subject.Name + ".crt", Key: "/lab/pki/" + subject.Name + ".key", CertSum: "sum of " + subject.Name, KeySum: "sum of its key", Until: until,
		}
	}
}

// recordedConflist is the sum of the conflist that the recorded labs had, which was the right one then. Where a recording has
// it, it has today's.
const recordedConflist = "4d8f57a82279c378e03fc5135d0f2cdf4b860766a1f3054b63f6f6eae912518a"

// recordedCfg is that of calicoctl's configuration.
const recordedCfg = "348bb87ba3ab4dc4084b677ac890a14f76ff1fe97e491061d236477d33a985b2"

func recordedLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.Load("testdata/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// envOf is what stages work with in a lab whose artifacts are those that were recorded, but for what broken shows: on that
// machine something is wrong.
func envOf(t *testing.T, f *fact.Lab, broken string) *Env {
	t.Helper()
	l := recordedLab(t)
	var a spec.Artifacts
	a.Calico, a.CNI, a.Toolchain = "/cache/calico", "/cache/cni", "/cache/go"
	a.Sums = map[string]map[string]string{a.Calico: {}, a.CNI: {}}
	goVersion := ""
	// Those machines first that nothing is wrong with.
	for _, last := range []bool{false, true} {
		for name, m := range f.Machines {
			if (name == broken) == last {
				sums(a, m)
				images(&a.Images, m)
				goVersion, a.GoFiles = cmp.Or(goVersion, m.Go.Value.Version), cmp.Or(a.GoFiles, m.Go.Value.Files)
			}
		}
	}
	v := func(s string) *version.Version { return version.Must(version.NewVersion(s)) }
	tag := func(i artifact.Image) *version.Version { return v(i.Ref[strings.LastIndexByte(i.Ref, ':')+1:]) }
	l.Versions.Go = v(strings.TrimPrefix(goVersion, "go"))
	s, err := spec.New(l, artifact.Pins{Calico: tag(a.Images.Node), Etcd: tag(a.Images.Etcd), Cnitool: v("1.3.1"), Plugins: v("1.9.1")}, a)
	if err != nil {
		t.Fatal(err)
	}
	issue(s)
	return &Env{Spec: s, Caps: machine.Capabilities{RepairsNetwork: true, Packages: true}}
}

// sums takes the files' sums of a machine for those of the artifacts that aren't known yet.
func sums(a spec.Artifacts, m fact.Machine) {
	for file, is := range m.Files.Value {
		dir, name := path.Split(file)
		of := a.Sums[a.CNI]
		switch {
		case is.SHA256 == "" || dir != "~/go/bin/" && dir != spec.PluginDir+"/" && file != spec.Calicoctl:
			continue
		case name == "calico" || name == "calicoctl":
			of = a.Sums[a.Calico]
		}
		of[name] = cmp.Or(of[name], is.SHA256)
	}
}

// images takes the images that a machine has for those that aren't known yet.
func images(to *artifact.Images, m fact.Machine) {
	for ref, id := range m.Docker.Value.Images {
		for prefix, i := range map[string]*artifact.Image{
			"calico-cni-lab/etcd:": &to.Etcd, "calico-cni-lab/node:": &to.Node, "calico-cni-lab/workload:": &to.Workload,
		} {
			if strings.HasPrefix(ref, prefix) && i.Ref == "" {
				*i = artifact.Image{Ref: ref, ID: id}
			}
		}
	}
	for _, c := range m.Docker.Value.Containers { // as it was made; Docker's own ID differs from store to store
		for _, i := range []*artifact.Image{&to.Etcd, &to.Node, &to.Workload} {
			if id := c.Config.Labels[fact.LabelImage]; c.Config.Image == i.Ref && id != "" {
				i.ID = id
			}
		}
	}
}

// results are those of all conditions, with packets where they were recorded.
func results(e *Env, f *fact.Lab) check.Report {
	var all []check.Condition
	for _, c := range Conditions(e, All()) {
		if !c.Probe || f.Probes != nil {
			all = append(all, c)
		}
	}
	return check.Run(all, f)
}

// TestHealthy: in a lab that works, everything holds.
func TestHealthy(t *testing.T) {
	f := recording(t, healthyFile)
	r := results(envOf(t, f, ""), f)
	for _, res := range r.Unmet() {
		t.Errorf("%s is %s: %s", res.ID, res.State, res.Found)
	}
	if len(r.Results) < 50 {
		t.Errorf("only %d conditions", len(r.Results))
	}
	for _, res := range r.Results {
		if res.Found == "" {
			t.Errorf("%s says nothing of what it found", res.ID)
		}
	}
}

// firstUnmet reads a recording of a lab in which one thing is wrong. Its name says what: broken-KIND_MACHINE.json.gz, or
// broken-KIND.json.gz for what concerns the whole lab.
func firstUnmet(t *testing.T, file string) (want, got string) {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimPrefix(path.Base(file), "broken-"), ".json.gz")
	kind, machine, _ := strings.Cut(name, "_")
	f := recording(t, file)
	r := results(envOf(t, f, machine), f)
	if unmet := r.Unmet(); len(unmet) > 0 {
		got = unmet[0].ID
	}
	return id(kind, machine), got
}

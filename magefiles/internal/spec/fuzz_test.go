package spec

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-version"
	v3 "github.com/projectcalico/api/pkg/apis/projectcalico/v3"
	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab/labtest"
)

// FuzzRendered: what is made of a lab that is accepted says to those who read it, CNI's programs, calicoctl and Docker, what
// lab.yaml says.
func FuzzRendered(f *testing.F) {
	labtest.Add(f, "../../..", "../lab/testdata")
	v := version.Must(version.NewVersion("3.31.0"))
	f.Fuzz(func(t *testing.T, data []byte, nth uint8, word string) {
		l, err := lab.Parse("lab.yaml", labtest.Edited(data, nth, word))
		if err != nil {
			return
		}
		s, err := New(l, artifact.Pins{Calico: v, Etcd: v, Cnitool: v, Plugins: v}, Artifacts{})
		if err != nil {
			t.Fatalf("a lab that is accepted can't be rendered: %v", err)
		}
		var conflist types.NetConfList
		err = json.Unmarshal(s.Conflist(s.Nodes()[0]).Content, &conflist)
		if err != nil || conflist.Name != l.Network || len(conflist.Plugins) != 1 || conflist.Plugins[0].Type != "calico" || utils.ValidateNetworkName(conflist.Name) != nil {
			t.Errorf("conflist: %v\n%s", err, s.Conflist(s.Nodes()[0]).Content)
		}
		var cfg struct {
			Spec struct {
				DatastoreType string `yaml:"datastoreType"`
				EtcdEndpoints string `yaml:"etcdEndpoints"`
			}
		}
		files := s.CalicoctlFiles()
		if err := yaml.Unmarshal(files[1].Content, &cfg); err != nil || cfg.Spec.EtcdEndpoints != EtcdURLs(l) || cfg.Spec.DatastoreType != "etcdv3" {
			t.Errorf("calicoctl.cfg: %v\n%s", err, files[1].Content)
		}
		sameContainers(t, s)
		sameResources(t, s)
	})
}

// sameResources: Calico's types read what is written for them, all of it.
func sameResources(t *testing.T, s *Spec) {
	t.Helper()
	var p v3.IPPool
	reads(t, s.Pool(), &p, &p.Spec)
	if cidr, err := netip.ParsePrefix(p.Spec.CIDR); err != nil || cidr != s.Lab.Pool.CIDR || p.Spec.BlockSize < cidr.Bits() || p.Kind != v3.KindIPPool {
		t.Errorf("%s of %s, blocks of /%d: %v", p.Kind, p.Spec.CIDR, p.Spec.BlockSize, err)
	}
	peers := []Resource[PeerSpec]{s.ReflectorPeer()}
	for _, m := range s.Lab.Routers() {
		peers = append(peers, RouterPeer(m))
	}
	for _, peer := range peers {
		var p v3.BGPPeer
		if reads(t, peer, &p, &p.Spec); p.Kind != v3.KindBGPPeer {
			t.Errorf("%s %s is no BGPPeer", p.Kind, p.Name)
		}
	}
}

// reads reads a resource with one of Calico's types, which have to write the same of it.
func reads[S any](t *testing.T, r Resource[S], as metav1.Object, itsSpec any) {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(as); err != nil || as.GetName() != r.Metadata.Name || r.APIVersion != v3.GroupVersionCurrent {
		t.Errorf("%v: %s", err, data)
	}
	if diff := cmp.Diff(fields(t, r.Spec), fields(t, itsSpec)); diff != "" {
		t.Errorf("%s (-written +read):\n%s", data, diff)
	}
}

// fields are what is in the JSON of a resource's spec.
func fields(t *testing.T, spec any) (all map[string]any) {
	t.Helper()
	data, err := json.Marshal(spec)
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sameContainers: no value of lab.yaml becomes a flag of its own, or another variable.
func sameContainers(t *testing.T, s *Spec) {
	t.Helper()
	for _, m := range s.Lab.Machines {
		Request(s.Lab, m, true)
		for _, c := range s.Containers(m) {
			flags := c.Flags()
			if slices.ContainsFunc(c.Env, func(v string) bool { return slices.Contains([]byte(v), '\n') }) {
				t.Errorf("%q", flags)
			}
		}
	}
}

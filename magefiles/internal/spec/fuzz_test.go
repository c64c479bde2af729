package spec

import (
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
		samePool(t, s)
	})
}

func samePool(t *testing.T, s *Spec) {
	t.Helper()
	data, err := json.Marshal(s.Pool())
	if err != nil {
		t.Fatal(err)
	}
	var p v3.IPPool
	if err := json.Unmarshal(data, &p); err != nil || p.Name != s.Lab.Pool.Name || p.Kind != v3.KindIPPool {
		t.Errorf("%v: %s", err, data)
	}
	if diff := cmp.Diff(s.Pool(), &p); diff != "" {
		t.Errorf("(-made +read):\n%s", diff)
	}
	if cidr, err := netip.ParsePrefix(p.Spec.CIDR); err != nil || cidr != s.Lab.Pool.CIDR || p.Spec.BlockSize < cidr.Bits() {
		t.Errorf("%s, blocks of /%d: %v", p.Spec.CIDR, p.Spec.BlockSize, err)
	}
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

package support

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// TestWithoutStrangers: what isn't the lab's is left out, but for what is in the lab's way. The facts themselves stay as they are.
func TestWithoutStrangers(t *testing.T) {
	container := func(id string, labels map[string]string) (c fact.Container) {
		c.ID, c.Config.Labels = id, labels
		return c
	}
	labels := map[string]string{fact.LabelPart: fact.PartEtcd}
	var m fact.Machine
	m.Docker.Value = fact.Docker{
		Containers: []fact.Container{container("stranger-container", nil), container("lab-container", labels)},
		Volumes:    []fact.Volume{{Name: "stranger-volume"}, {Name: "lab-volume", Labels: labels}},
		Images:     map[string]string{"stranger:1": "", "lab-image:1": "sha256:1"},
	}
	listener := func(port uint16, name, container string) fact.Listener {
		return fact.Listener{Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Process: fact.Process{PID: 7, Name: name, Container: container}}
	}
	m.Listeners.Value = []fact.Listener{
		listener(2379, "lab-way", ""), listener(4000, "lab-etcd", "lab-container"),
	}
	m.Rivals.Value = []fact.Rival{{Product: fact.BIRDDaemon, Unit: "lab-rival.service"}}
	m.Sandboxes.Value = []fact.Sandbox{{Key: "stranger-sandbox", Container: "stranger-container"}, {Key: "lab-sandbox", Container: "lab-container"}}
	m.Deep.Value = fact.Deep{
		Namespaces: fact.Known([]string{"stranger-namespace"}), Networks: fact.Known(map[string]string{"stranger-network": "1"}),
		Texts: fact.Known(map[string]fact.Text{"/etc/cni/net.d/10-a.conflist": {Content: "lab-conflist"}, "/etc/cni/net.d/kubeconfig": {Content: "stranger-token"}}),
	}
	f := fact.Lab{Machines: map[string]fact.Machine{"etcd-node": m}}
	for what, c := range map[string]struct {
		f               *fact.Lab
		strangers, labs int
	}{"left out": {withoutStrangers(f), 0, 10}, "the facts": {&f, 8, 10}} {
		data, err := c.f.Write()
		if err != nil {
			t.Fatal(err)
		}
		if strangers, labs := strings.Count(string(data), `"stranger`), strings.Count(string(data), `"lab-`); strangers != c.strangers || labs != c.labs {
			t.Errorf("%s: %d of strangers', %d of the lab's:\n%s", what, strangers, labs, data)
		}
	}
}

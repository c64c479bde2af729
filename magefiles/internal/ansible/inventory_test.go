package ansible

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

func TestInventory(t *testing.T) {
	l, err := lab.Load("../../../lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	v := version.Must(version.NewVersion("3.31.0"))
	a := Artifacts{
		Calico: "/cache/calico-1", CNI: "/cache/cni-1", Toolchain: "/cache/go-1", Plugins: []string{"loopback"},
		Images: artifact.Images{Node: artifact.Image{Ref: "node:v3", ID: "sha256:1", Archive: "/cache/images-1/node.tar"}},
	}
	endpoints := []remote.Endpoint{
		{Machine: "calico1", User: "vagrant", Shares: remote.Shares{{Here: "/cache", There: "/run/lab"}}},
		{Machine: "calico2", User: "netadmin"}, {Machine: "etcd-node", User: "vagrant"},
	}
	data, err := json.Marshal(New(l, artifact.Pins{Calico: v, Etcd: v, Cnitool: v, Plugins: v}, a, endpoints, "/my lab/.lab/ssh_config"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"etcd":{"hosts":["etcd-node"]}`, `"calico":{"hosts":["calico1","calico2"]}`, `"children":["etcd","calico"]`,
		`"ansible_ssh_common_args":"-F '/my lab/.lab/ssh_config'"`,
		`"calico1":{"lab_address":"192.168.4.5","lab_user":"vagrant","lab_artifacts_there":true,"lab_artifacts":{"calico":"/run/lab/calico-1","cni":"/run/lab/cni-1","go":"/run/lab/go-1"}`,
		`"calico2":{"lab_address":"192.168.4.6","lab_user":"netadmin","lab_artifacts_there":false,"lab_artifacts":{"calico":"/cache/calico-1"`,
		`"node":{"ref":"node:v3","id":"sha256:1","archive":"/run/lab/images-1/node.tar"}`,
		`"spec":{"blockSize":26,"cidr":"10.1.0.0/16","disabled":false,"ipipMode":"Never","natOutgoing":true}`,
		`"lab_etcd_url":"http://192.168.4.7:2379"`, `"lab_node_container":"calico-release-v3.31"`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in:\n%s", want, data)
		}
	}
}

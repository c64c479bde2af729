package develop

import (
	"net/netip"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// withNodes returns a lab file like data, which describes l, with n Calico nodes calico1, calico2, ... like l's first, and another
// name. Their addresses count up from the first that leaves room for all. The first reflectors of them are route reflectors.
func withNodes(data []byte, l *lab.Lab, n, reflectors int) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	root := doc.Content[0] // of a file that was loaded
	value(root, "name").SetString(l.Name + "-nodes")
	machines := value(root, "machines")
	like := map[string]*yaml.Node{} // by role
	for _, m := range slices.Backward(machines.Content) {
		like[value(m, "role").Value] = m
	}
	address := l.ByRole(lab.RoleCalico)[0].Address
	for etcd := l.Etcd().Address; address.Compare(etcd) <= 0 && counted(address, n-1).Compare(etcd) >= 0; {
		address = address.Next()
	}
	nodes := like[string(lab.RoleCalico)]
	set(nodes, "name", "calico")
	set(nodes, "address", address.String())
	set(nodes, "count", strconv.Itoa(n))
	machines.Content = []*yaml.Node{like[string(lab.RoleEtcd)], nodes}
	remove(root, "bgp")
	remove(root, "plugins") // their files are the other directory's
	if reflectors > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range reflectors {
			list.Content = append(list.Content, scalar("calico"+strconv.Itoa(i+1)))
		}
		root.Content = append(root.Content, scalar("bgp"), &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("reflectors"), list}})
	}
	out, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, err
	}
	_, err = lab.Parse("the lab file that was made for it", out)
	return out, err
}

// counted is the address n after another.
func counted(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

// set sets a key of a mapping.
func set(mapping *yaml.Node, key, text string) {
	remove(mapping, key)
	mapping.Content = append(mapping.Content, scalar(key), scalar(text))
}

func remove(mapping *yaml.Node, key string) {
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			mapping.Content = slices.Delete(mapping.Content, i, i+2)
			return
		}
	}
}

// value finds a key's value in a mapping; an empty one where there is no such key.
func value(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return &yaml.Node{}
}

package develop

import (
	"fmt"
	"net/netip"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// withNodes returns a lab file like data, which describes l, with n Calico nodes calico1, calico2, ... and another name. Each
// node is like l's first; their addresses count up from that one's.
func withNodes(data []byte, l *lab.Lab, n int) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, err
	}
	root := doc.Content[0] // of a file that was loaded
	value(root, "name").SetString(l.Name + "-nodes")
	machines := value(root, "machines")
	like := map[string]*yaml.Node{} // by role
	for _, m := range machines.Content {
		if role := value(m, "role").Value; like[role] == nil {
			like[role] = m
		}
	}
	machines.Content = []*yaml.Node{like[string(lab.RoleEtcd)]}
	address := l.ByRole(lab.RoleCalico)[0].Address
	for i := range n {
		for address == l.Etcd().Address || address == l.Gateway() {
			address = address.Next()
		}
		machines.Content = append(machines.Content, node(like[string(lab.RoleCalico)], i+1, address))
		address = address.Next()
	}
	out, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, err
	}
	_, err = lab.Parse("the lab file that was made for it", out)
	return out, err
}

// node is a machine like another one.
func node(like *yaml.Node, number int, address netip.Addr) *yaml.Node {
	m := *like
	m.Content = nil
	for i := 0; i < len(like.Content); i += 2 {
		v := *like.Content[i+1]
		switch like.Content[i].Value {
		case "name":
			v.SetString("calico" + strconv.Itoa(number))
		case "address":
			v.SetString(fmt.Sprint(address))
		}
		m.Content = append(m.Content, like.Content[i], &v)
	}
	return &m
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

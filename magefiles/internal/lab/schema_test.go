package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// TestKeys: what is said of keys is said of those that a file may have, of all of them, and in the order of the types.
func TestKeys(t *testing.T) {
	var want, got []string
	var walk func(reflect.Type, string)
	walk = func(t reflect.Type, path string) {
		switch {
		case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[scalar]():
			walk(t.Elem(), path+"[]")
		case t.Kind() == reflect.Struct && t != reflect.TypeFor[scalar]():
			for i := range t.NumField() {
				walk(t.Field(i).Type, strings.TrimPrefix(path+"."+t.Field(i).Tag.Get("yaml"), "."))
			}
		default:
			want = append(want, path)
		}
	}
	walk(reflect.TypeFor[rawLab](), "")
	for _, k := range Keys() {
		got = append(got, k.Path)
		if k.Text == "" || k.Example == "" || k.Required == (k.Without != "") {
			t.Errorf("%s: text %q, example %q, required %v, without it %q", k.Path, k.Text, k.Example, k.Required, k.Without)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-types +reference):\n%s", diff)
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("lab.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("lab.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bySchema is what an editor would say of a lab file.
func bySchema(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	again, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(again)
}

// TestSchemaFiles: the schema lets pass what validation lets pass.
func TestSchemaFiles(t *testing.T) {
	s := compiledSchema(t)
	files, err := filepath.Glob("testdata/*.y*ml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	lets, refuses := 0, 0
	for _, file := range append(files, "../../../lab.yaml", "../stage/testdata/lab.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, valid := Parse(file, data)
		schema := bySchema(t, s, data)
		if valid == nil && schema != nil {
			t.Errorf("%s is valid, and the schema refuses it: %v", file, schema)
		}
		if schema == nil {
			lets++
		} else {
			refuses++
		}
	}
	if lets < 3 || refuses < 3 {
		t.Errorf("the schema lets %d files pass, and refuses %d", lets, refuses)
	}
}

// TestSchemaRules: at its limits each rule says what validation says.
func TestSchemaRules(t *testing.T) {
	const valid = `
name: lab
underlay: {subnet: 192.168.4.0/23}
machines:
  - {name: etcd1, role: etcd, address: 192.168.4.7}
  - {name: node, role: calico, address: 192.168.4.8, ssh: {}, workloads: {}}
  - {name: calico2, role: calico, address: 192.168.4.9}
  - {name: tor, role: router, address: 192.168.4.10, asNumber: 64513}
network: net
bgp: {}
pool: {name: p, cidr: 10.1.0.0/16, blockSize: 26, ipipMode: Never}
versions: {debian: bookworm, go: 1.26.11}
vagrant: {}
allowed: {}
`
	s := compiledSchema(t)
	for path, values := range map[string][]string{
		"extends":                     {"[lab.yaml]", "{}"},
		"name":                        {"lab", "Lab", strings.Repeat("a", maxLabName), strings.Repeat("a", maxLabName+1), "-a", "a.b"},
		"colour":                      {"lab"},
		"underlay.subnet":             {"192.168.4.0/24", "192.168.4.0", "x"},
		"machines.1.name":             {"n1", strings.Repeat("n", maxMachineName), strings.Repeat("n", maxMachineName+1), "N"},
		"machines.1.role":             {"calico", "Calico", "node"},
		"machines.1.memory":           {fmt.Sprint(minMemory), fmt.Sprint(minMemory - 1), fmt.Sprint(maxMemory), fmt.Sprint(maxMemory + 1), "much"},
		"machines.1.cpus":             {"1", "0", "64", "65", "1.5"},
		"machines.1.count":            {"1", "0", "many"},
		"machines.1.ssh.port":         {"1", "0", "65535", "65536"},
		"machines.1.ssh.user":         {"me", "-oProxyCommand=x", "DOM\\me"},
		"machines.1.ssh.address":      {"a.example", "fe80::1%eth0", "-x", "a b"},
		"machines.1.workloads.count":  {"0", "-1", fmt.Sprint(maxWorkloads), fmt.Sprint(maxWorkloads + 1)},
		"machines.1.workloads.labels": {"{app: web}", "{tier: 1}", "{app: " + strings.Repeat("a", maxLabel+1) + "}", "{app: -x}", "[app]"},
		"machines.3.asNumber":         {"1", "0", "23456", "65535", "4294967294", "4294967295", "x"},
		"network":                     {"a.b", "a_b"},
		"bundle":                      {"a.tar.zst", "https://example.net/a", "[a]"},
		"bgp.asNumber":                {"1", "0", "23456", "64512", "65535", "4294967294", "4294967295"},
		"bgp.mesh":                    {"true", "maybe"},
		"bgp.reflectors":              {"[node]", "node", "[node, node]"},
		"pool.blockSize":              {"20", "19", "32", "33"},
		"pool.ipipMode":               {"Never", "Always"},
		"pool.vxlanMode":              {"Never", "Always", "CrossSubnet", "crossSubnet"},
		"pool.natOutgoing":            {"true", "false", "1"},
		"pool.disabled":               {"false", "true"},
		"versions.debian":             {"trixie", "12"},
		"versions.source":             {"compile", "published", "release"},
		"versions.go":                 {"1.26.0", "1.26", "go1.26.0"},
		"vagrant.box":                 {"a/b", "a b"},
		"allowed.go":                  {"'>= 1'", "[1]"},
	} {
		for _, value := range values {
			var doc yaml.Node
			if err := yaml.Unmarshal([]byte(valid), &doc); err != nil {
				t.Fatal(err)
			}
			set(t, doc.Content[0], strings.Split(path, "."), value)
			text, err := yaml.Marshal(&doc)
			if err != nil {
				t.Fatal(err)
			}
			_, validation := Parse("lab.yaml", text)
			if schema := bySchema(t, s, text); (schema == nil) != (validation == nil) {
				t.Errorf("%s: %s\nvalidation: %v\nschema: %v", path, value, validation, schema)
			}
		}
	}
}

// set gives a key a value, written in YAML.
func set(t *testing.T, n *yaml.Node, path []string, value string) {
	t.Helper()
	if n.Kind == yaml.SequenceNode {
		var i int
		if _, err := fmt.Sscan(path[0], &i); err != nil {
			t.Fatal(err)
		}
		set(t, n.Content[i], path[1:], value)
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == path[0] && len(path) > 1 {
			set(t, n.Content[i+1], path[1:], value)
			return
		}
		if n.Content[i].Value == path[0] {
			n.Content = append(n.Content[:i], n.Content[i+2:]...)
			break
		}
	}
	var v yaml.Node
	if err := yaml.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: path[0]}, v.Content[0])
}

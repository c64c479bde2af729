package lab

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"
)

// Key is a key that a lab file may have, as the reference in docs/ and the schema for editors show it.
type Key struct {
	Path     string // machines[].ssh.port
	Text     string // what it is
	Example  string // a value, as it is written
	Without  string // what holds where it is left out; "" where it may not be
	Required bool
	rule     map[string]any // JSON schema of its value; nil for a key with keys of its own
}

// Rules of values, in JSON schema's words and with the limits that validate.go has. What depends on other keys, such as an address inside of
// the subnet, only validation knows.
func word(form *regexp.Regexp, longest int) map[string]any {
	rule := map[string]any{"type": "string", "pattern": form.String()}
	if longest > 0 {
		rule["maxLength"] = longest
	}
	return rule
}

func numberOf(low, high int) map[string]any {
	return map[string]any{"type": "integer", "minimum": low, "maximum": high}
}

func oneOf(words ...string) map[string]any { return map[string]any{"enum": words} }

var (
	aText   = map[string]any{"type": "string"}
	aSwitch = map[string]any{"type": "boolean"}
	// A version or a constraint on versions; YAML takes 2.3 for a number.
	releases = map[string]any{"type": []string{"string", "number"}}
	network  = map[string]any{"type": "string", "pattern": `^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+/[0-9]+$`}
	address  = map[string]any{"type": "string", "pattern": `^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$`}
	anAS     = map[string]any{"type": "integer", "minimum": 1, "maximum": 4294967294, "not": map[string]any{"enum": reservedAS}}
)

// keyTexts has the keys with a value, in the order of the file; those that lead to them are found on the way.
var keyTexts = []Key{
	{Path: keyExtends, Text: "another lab file: what this one leaves out is as it says there", Example: "../lab.yaml", Without: "the file says all of it", rule: map[string]any{
		"type": "string", "minLength": 1,
	}},
	{Path: "name", Text: "names the network, containers and directories that the lab makes", Example: "calico-cni-lab", Required: true, rule: word(hostName, maxLabName)},
	{Path: "underlay.subnet", Text: "the machines' own network; its first address is the gateway", Example: "192.168.4.0/24", Required: true, rule: network},
	{Path: "machines[].name", Text: "host name; with `count` what stands before the number", Example: "calico1", Required: true, rule: word(hostName, maxMachineName)},
	{Path: "machines[].role", Text: "`etcd`: has the datastore, one, three or five machines; `calico`: runs calico-node and workloads, two machines or more; `router`: runs BIRD, and speaks BGP with all nodes", Example: "calico", Required: true, rule: oneOf(string(RoleEtcd), string(RoleCalico), string(RoleRouter))},
	{Path: "machines[].count", Text: "makes so many machines of the entry", Example: "50", Without: "one machine, its name without a number", rule: numberOf(1, maxCount)},
	{Path: "machines[].address", Text: "on the underlay; with `count` the first machine's", Example: "192.168.4.5", Required: true, rule: address},
	{Path: "machines[].asNumber", Text: "AS number of a router, another one than the nodes'", Example: "64513", Without: "a router needs one, and nobody else has one", rule: anAS},
	{Path: "machines[].behind", Text: "of a router: a second subnet of the underlay, which it alone leads to; its first address is the router's", Example: "192.168.5.0/24", Without: "there is none", rule: network},
	{Path: "machines[].memory", Text: "of a virtual machine, in MB", Example: "384", Without: fmt.Sprint(defaultMemory), rule: numberOf(minMemory, maxMemory)},
	{Path: "machines[].cpus", Text: "of a virtual machine", Example: "1", Without: fmt.Sprint(defaultCPUs), rule: numberOf(1, 64)},
	{Path: "machines[].ssh.address", Text: "where a machine that exists already answers SSH", Example: "calico1.example", Without: "its address on the underlay", rule: word(sshAddress, 0)},
	{Path: "machines[].ssh.port", Text: "its TCP port", Example: "22", Without: "22", rule: numberOf(1, 65535)},
	{Path: "machines[].ssh.user", Text: "who logs in there", Example: "netadmin", Without: "your own name", rule: word(sshUser, 0)},
	{Path: "machines[].ssh.key", Text: "file of the private key", Example: "~/.ssh/id_ed25519", Without: "what ssh-agent has, and the usual files", rule: aText},
	{Path: "machines[].ssh.hostKey", Text: "the machine's public key", Example: "ssh-ed25519 AAAA", Without: "what ~/.ssh/known_hosts has", rule: aText},
	{Path: "machines[].workloads.count", Text: "workloads of a Calico node", Example: "3", Without: fmt.Sprint(defaultWorkloads), rule: numberOf(0, maxWorkloads)},
	{Path: "machines[].workloads.labels", Text: "labels of their workload endpoints", Example: "{app: web}", Without: "none", rule: map[string]any{
		"type": "object", "additionalProperties": map[string]any{"type": []string{"string", "number", "boolean"}, "maxLength": maxLabel, "pattern": labelValue.String()},
	}},
	{Path: "network", Text: "the CNI network's name: `cnitool add NETWORK ...`", Example: "test-calico", Required: true, rule: word(objectName, 63)},
	{Path: "bgp.asNumber", Text: "AS number of all nodes", Example: "64513", Without: fmt.Sprintf("%d, Calico's own", DefaultAS), rule: anAS},
	{Path: "bgp.mesh", Text: "whether every node has a session with every other", Example: "false", Without: "true without reflectors, false with some", rule: aSwitch},
	{Path: "bgp.reflectors", Text: "names of nodes that are route reflectors", Example: "[calico1, calico2]", Without: "none", rule: map[string]any{
		"type": "array", "uniqueItems": true, "items": aText,
	}},
	{Path: "pool.name", Text: "name of the IPPool", Example: "my.ippool-1", Required: true, rule: word(objectName, 253)},
	{Path: "pool.cidr", Text: "the addresses that workloads get theirs from", Example: "10.1.0.0/16", Required: true, rule: network},
	{Path: "pool.blockSize", Text: "prefix length of the blocks that nodes take", Example: "26", Required: true, rule: numberOf(minBlockSize, maxBlockSize)},
	{Path: "pool.ipipMode", Text: "IPIP encapsulation, which the lab's BIRD can't do", Example: "Never", Required: true, rule: oneOf("Never")},
	{Path: "pool.vxlanMode", Text: "VXLAN encapsulation", Example: "CrossSubnet", Without: VXLANNever, rule: oneOf(VXLANNever, VXLANAlways, VXLANCrossSubnet)},
	{Path: "pool.natOutgoing", Text: "whether packets that leave the pool get the node's address", Example: "true", Without: "false", rule: aSwitch},
	{Path: "pool.disabled", Text: "the original tutorial's key; only `false` makes a lab", Example: "false", Without: "false", rule: map[string]any{"const": false}},
	{Path: "plugins.binaries", Text: "CNI plugins of your own for the Calico nodes: files, from this file's directory", Example: "[my-plugin]", Without: "none", rule: map[string]any{
		"type": "array", "uniqueItems": true, "items": aText,
	}},
	{Path: "plugins.conflist", Text: "file that describes a network of theirs", Example: "my.conflist", Without: "none", rule: aText},
	{Path: "versions.debian", Text: "release of the machines' and the images' root file system", Example: "bookworm", Required: true, rule: word(releaseName, 0)},
	{Path: "versions.go", Text: "Go toolchain on the Calico nodes", Example: "1.26.11", Required: true, rule: word(goRelease, 0)},
	{Path: "versions.source", Text: "where calicoctl, the reference plugins, etcd and calico-node come from: compiled here, or as their projects publish them with a release; see [published programs](working-with-the-lab.md#published-programs)", Example: Release, Without: Compile, rule: oneOf(Compile, Release)},
	{Path: "bundle", Text: "a [bundle](working-with-the-lab.md#without-a-network-a-bundle) to take things from: a file or a directory, from this file's directory, or a URL; `LAB_BUNDLE` comes first", Example: "calico-cni-lab-amd64.tar.zst", Without: "what isn't there is fetched and compiled", rule: map[string]any{"type": "string", "minLength": 1}},
	{Path: "vagrant.box", Text: "the lab's own box, or a public one", Example: "calico-cni-lab", Without: OwnBox, rule: word(boxName, 0)},
	{Path: "vagrant.boxVersion", Text: "of a public box", Example: "20260413.2447.0", Without: "the newest that is installed", rule: releases},
	{Path: "vagrant.version", Text: "which Vagrant may be used", Example: `">= 2.3.4"`, Without: "any", rule: releases},
	{Path: "vagrant.libvirt", Text: "which vagrant-libvirt", Example: `">= 0.11.2"`, Without: "any", rule: releases},
	{Path: "vagrant.virtualbox", Text: "which VirtualBox", Example: `">= 6.1"`, Without: "any", rule: releases},
	{Path: "allowed.calico", Text: "releases of Calico that its pin may be changed to", Example: `"~> 3.31.0"`, Without: "any", rule: releases},
	{Path: "allowed.etcd", Text: "of etcd", Example: `"~> 3.6.0"`, Without: "any", rule: releases},
	{Path: "allowed.cnitool", Text: "of cnitool", Example: `"~> 1.3"`, Without: "any", rule: releases},
	{Path: "allowed.plugins", Text: "of the CNI plugins", Example: `"~> 1.9"`, Without: "any", rule: releases},
	{Path: "allowed.go", Text: "of Go", Example: `"~> 1.26.0"`, Without: "any", rule: releases},
	{Path: "allowed.mage", Text: "of Mage", Example: `"~> 1.17"`, Without: "any", rule: releases},
}

// Keys are all keys with a value, in the order of the file.
func Keys() []Key { return keyTexts }

// Values says in a few words what a key's value may be.
func (k Key) Values() string {
	join := func(a any) string { return "`" + strings.Join(a.([]string), "`, `") + "`" }
	switch {
	case k.rule["enum"] != nil:
		return join(k.rule["enum"])
	case k.rule["const"] != nil:
		return fmt.Sprintf("`%v`", k.rule["const"])
	case k.rule["minimum"] != nil:
		return fmt.Sprintf("%v to %v", k.rule["minimum"], k.rule["maximum"])
	case k.rule["maxLength"] != nil:
		return fmt.Sprintf("%v characters at most", k.rule["maxLength"])
	case k.rule["type"] == "boolean":
		return "`true`, `false`"
	}
	return ""
}

// Schema is the JSON schema of a lab file (https://json-schema.org, 2020-12), for editors: keys, values and what is said of them.
func Schema() map[string]any {
	root := schemaOf(reflect.TypeFor[rawLab](), "")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "lab.yaml of Calico CNI Lab"
	root["if"] = map[string]any{"not": map[string]any{"required": []string{keyExtends}}}
	root["then"] = requiredOf(reflect.TypeFor[rawLab](), "")
	return root
}

// schemaOf walks the types that a file is read into, so that a key can't be missing here, nor be one that no file may have.
func schemaOf(t reflect.Type, path string) map[string]any {
	for _, k := range keyTexts {
		if k.Path == path {
			rule := map[string]any{"description": strings.ReplaceAll(k.Text, "`", "")}
			for name, value := range k.rule {
				rule[name] = value
			}
			return rule
		}
	}
	switch t.Kind() {
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), path+"[]")}
	case reflect.Struct:
	default:
		return nil
	}
	keys := map[string]any{}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		keys[name] = schemaOf(t.Field(i).Type, below(path, name))
	}
	object := map[string]any{"type": "object", "additionalProperties": false, "properties": keys}
	if strings.HasSuffix(path, "[]") { // of no list's entry another file has the rest
		maps.Copy(object, requiredOf(t, path))
	}
	return object
}

func below(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

// requiredOf are the keys that have to be there, and of those that have keys of their own, which of these.
func requiredOf(t reflect.Type, path string) map[string]any {
	var required []string
	inside := map[string]any{}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		if !requires(below(path, name)) {
			continue
		}
		required = append(required, name)
		if ft := t.Field(i).Type; ft.Kind() == reflect.Struct && ft != reflect.TypeFor[scalar]() {
			inside[name] = requiredOf(ft, below(path, name))
		}
	}
	rule := map[string]any{"required": required}
	if len(inside) > 0 {
		rule["properties"] = inside
	}
	return rule
}

// requires says whether a key, or one below it, has to be there. What can be left out as a whole, such as ssh, has no such key.
func requires(path string) bool {
	for _, k := range keyTexts {
		if k.Required && (k.Path == path || strings.HasPrefix(k.Path, path+".") || strings.HasPrefix(k.Path, path+"[].")) {
			return true
		}
	}
	return false
}

package vagrant

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/hashicorp/go-version"
	"github.com/kevinburke/ssh_config"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// record is one line of `vagrant --machine-readable` output: timestamp,target,type,data...
// https://developer.hashicorp.com/vagrant/docs/cli/machine-readable
type record struct {
	target, kind string
	data         []string
}

// records reads machine-readable output. Lines of another form, such as a plugin's warnings, are left out.
func records(out string) []record {
	unescape := strings.NewReplacer("%!(VAGRANT_COMMA)", ",", `\n`, "\n", `\r`, "\r")
	var all []record
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ",")
		if len(f) < 3 || strings.Trim(f[0], "0123456789") != "" {
			continue
		}
		r := record{target: f[1], kind: f[2]}
		for _, d := range f[3:] {
			r.data = append(r.data, unescape.Replace(d))
		}
		all = append(all, r)
	}
	return all
}

func (r record) value() string {
	if len(r.data) == 0 {
		return ""
	}
	return r.data[0]
}

// parseStatus returns the machines' states from `vagrant status --machine-readable`.
func parseStatus(out string) map[string]machine.State {
	states := map[string]machine.State{}
	for _, r := range records(out) {
		if r.kind != "state" || r.target == "" {
			continue
		}
		switch r.value() {
		case "running":
			states[r.target] = machine.Running
		case "not_created":
			states[r.target] = machine.Absent
		default: // shutoff, poweroff, saved, paused, aborted, ...: it exists, and does not run
			states[r.target] = machine.Stopped
		}
	}
	return states
}

// installedBox is a box as `vagrant box list --box-info --machine-readable` has it.
type installedBox struct {
	name, provider, version string
	recipe                  string // of the lab's own
}

func parseBoxes(out string) []installedBox {
	var all []installedBox
	last := func() *installedBox {
		if len(all) == 0 {
			all = append(all, installedBox{})
		}
		return &all[len(all)-1]
	}
	for _, r := range records(out) {
		switch r.kind {
		case "box-name":
			all = append(all, installedBox{name: r.value()})
		case "box-provider":
			last().provider = r.value()
		case "box-version":
			last().version = r.value()
		case "box-info":
			if len(r.data) > 1 && r.data[0] == box.InfoKey {
				last().recipe = r.data[1]
			}
		}
	}
	return all
}

// parsePlugin returns a plugin's version from `vagrant plugin list --machine-readable`, or "".
func parsePlugin(out, name string) string {
	for _, r := range records(out) {
		if r.target == name && r.kind == "plugin-version" {
			v, _, _ := strings.Cut(r.value(), ",") // "0.11.2, system"
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// number returns the version in what a program prints about itself: "Vagrant 2.3.4", "7.0.20r163906", with warnings around it.
func number(out string) (*version.Version, error) {
	found := regexp.MustCompile(`(?m)^(?:Vagrant )?(\d+\.\d+\.\d+)`).FindStringSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("no version in %q", strings.TrimSpace(out))
	}
	return version.NewVersion(found[1])
}

// way is how to log in to a machine, from `vagrant ssh-config`.
type way struct {
	Machine string   `json:"machine"`
	Address string   `json:"address"` // host:port
	User    string   `json:"user"`
	Keys    []string `json:"keys"` // files
}

var (
	colour    = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
	firstHost = regexp.MustCompile(`(?m)^Host `)
)

// hash stands for a # while the library reads: Vagrant writes no comments, so it belongs to a path, and the library would
// end even a quoted value there.
const hash = "\ue000"

// parseSSHConfig reads `vagrant ssh-config`: an OpenSSH configuration, perhaps behind warnings.
func parseSSHConfig(out string) ([]way, error) {
	out = colour.ReplaceAllString(out, "")
	start := firstHost.FindStringIndex(out)
	if start == nil {
		return nil, errors.New("vagrant ssh-config names no machine")
	}
	config, err := ssh_config.Decode(strings.NewReader(strings.ReplaceAll(out[start[0]:], "#", hash) + "\n"))
	if err != nil {
		return nil, fmt.Errorf("vagrant ssh-config: %w", err)
	}
	var ways []way
	for _, h := range config.Hosts[1:] { // the first is what stands before any Host line
		if len(h.Patterns) == 0 {
			return nil, errors.New("vagrant ssh-config has a machine without a name")
		}
		w := way{Machine: h.Patterns[0].String()}
		var host, port string
		for _, node := range h.Nodes {
			kv, ok := node.(*ssh_config.KV)
			if !ok {
				continue
			}
			value := strings.ReplaceAll(strings.Trim(kv.Value, `"`), hash, "#")
			switch kv.Key {
			case "HostName":
				host = value
			case "Port":
				port = value
			case "User":
				w.User = value
			case "IdentityFile":
				w.Keys = append(w.Keys, value)
			}
		}
		if host == "" || port == "" || w.User == "" || len(w.Keys) == 0 {
			return nil, fmt.Errorf("vagrant ssh-config lacks the address, the port, the user or the key of %s: %+v", w.Machine, w)
		}
		w.Address = net.JoinHostPort(host, port)
		ways = append(ways, w)
	}
	return ways, nil
}

// catalog returns a catalog for `vagrant box add`, so that a box that comes from a file has a version.
func catalog(provider, version, file string) ([]byte, error) {
	type object = map[string]any
	return json.Marshal(object{
		"name": lab.OwnBox,
		"versions": []object{{
			"version":   version,
			"providers": []object{{"name": provider, "url": "file://" + file}},
		}},
	})
}

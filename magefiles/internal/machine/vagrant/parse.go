package vagrant

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/hashicorp/go-version"

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

// parseStatus gives the machines' states out of `vagrant status --machine-readable`.
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

// parsePlugin gives a plugin's version out of `vagrant plugin list --machine-readable`, or "".
func parsePlugin(out, name string) string {
	for _, r := range records(out) {
		if r.target == name && r.kind == "plugin-version" {
			v, _, _ := strings.Cut(r.value(), ",") // "0.11.2, system"
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// number finds the version in what a program says of itself: "Vagrant 2.3.4", "7.0.20r163906", with warnings around it.
func number(out string) (*version.Version, error) {
	found := regexp.MustCompile(`(?m)^(?:Vagrant )?(\d+\.\d+\.\d+)`).FindStringSubmatch(out)
	if found == nil {
		return nil, fmt.Errorf("no version in %q", strings.TrimSpace(out))
	}
	return version.NewVersion(found[1])
}

// way is how a machine is reached, as `vagrant ssh-config` says.
type way struct {
	Machine string   `json:"machine"`
	Address string   `json:"address"` // host:port
	User    string   `json:"user"`
	Keys    []string `json:"keys"` // files
}

var colour = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// parseSSHConfig reads `vagrant ssh-config`: an OpenSSH configuration, perhaps behind other lines.
func parseSSHConfig(out string) ([]way, error) {
	type entry struct {
		way
		host, port string
	}
	var all []entry
	sc := bufio.NewScanner(strings.NewReader(colour.ReplaceAllString(out, "")))
	for sc.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(sc.Text()), " ")
		value = strings.TrimSpace(value)
		if unquoted, ok := strings.CutPrefix(value, `"`); ok {
			value = strings.TrimSuffix(unquoted, `"`)
		}
		if key == "Host" {
			all = append(all, entry{way: way{Machine: value}})
			continue
		}
		if len(all) == 0 {
			continue // noise before the first Host
		}
		e := &all[len(all)-1]
		switch key {
		case "HostName":
			e.host = value
		case "Port":
			e.port = value
		case "User":
			e.User = value
		case "IdentityFile":
			e.Keys = append(e.Keys, value)
		}
	}
	var ways []way
	for _, e := range all {
		if e.host == "" || e.port == "" || e.User == "" || len(e.Keys) == 0 {
			return nil, fmt.Errorf("vagrant ssh-config says too little of %s (address, port, user and key are needed): %+v", e.Machine, e)
		}
		e.Address = net.JoinHostPort(e.host, e.port)
		ways = append(ways, e.way)
	}
	if len(ways) == 0 {
		return nil, errors.New("vagrant ssh-config names no machine")
	}
	return ways, nil
}

// catalog is what `vagrant box add` takes, so that a box that comes from a file has a version.
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

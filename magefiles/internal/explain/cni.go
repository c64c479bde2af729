package explain

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
)

func cni(_ context.Context, l *Lab, args []string) (Story, error) {
	machines := l.ByRole(lab.RoleCalico)
	if len(args) > 0 {
		m, ok := l.Machine(args[0])
		if !ok {
			return Story{}, unknown("there is no machine", args[0], l.Names())
		}
		machines = []lab.Machine{m}
	}
	w := &writer{}
	asked := 0
	for _, m := range machines {
		seen, ok := l.Facts.Machine(m.Name)
		if why := cmp.Or(l.Facts.Unreached[m.Name], seen.Attachments.Unknown); !ok || why != "" {
			w.part("On " + m.Name)
			w.unknown("what was asked on %s: %s.", m.Name, why).by(m.Name, fact.Attachments.Command())
			continue
		}
		if len(seen.Attachments.Value) == 0 {
			w.part("On " + m.Name)
			w.say("No CNI plugin has been asked for anything that is still there.").by(m.Name, fact.Attachments.Command())
		}
		for _, a := range seen.Attachments.Value {
			asked++
			l.attachment(w, m, a)
		}
	}
	w.answers("%s: what the plugin was asked, and what it answered, as libcni keeps it in /var/lib/cni/results.", plural(asked, "interface"))
	return w.story, nil
}

func (l *Lab) attachment(w *writer, m lab.Machine, a fact.Attachment) {
	who := a.NetNS
	for _, x := range l.Workloads() {
		if x.Machine == m.Name && x.Sandbox == a.NetNS {
			who = x.Name
		}
	}
	cached := fmt.Sprintf("sudo cat /var/lib/cni/results/%s-%s-%s", a.Network, a.ContainerID, a.IfName)
	w.part("Asked on " + m.Name + ", for " + who)
	w.say("cnitool ran the plugins of network %s, one after the other, each with its part of the conflist at its standard input.", a.Network).saw(indented([]byte(a.Conflist))...).by(m.Name, cached+" | jq -r .config | base64 -d")
	l.conflistNow(w, m, a)
	args := "none"
	var list []string
	for _, pair := range a.CNIArgs {
		list = append(list, pair[0]+"="+pair[1])
	}
	if len(list) > 0 {
		args = strings.Join(list, ";")
	}
	env := []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + a.ContainerID, "CNI_NETNS=" + a.NetNS, "CNI_IFNAME=" + a.IfName, "CNI_ARGS: " + args}
	w.say("The rest was in the environment: what to do, for which namespace, and what to call the interface. The container ID is made from the namespace's path by cnitool.").saw(env...).by(m.Name, cached)
	w.unknown("CNI_PATH, where it looked for the plugins: libcni doesn't keep it. The lab itself uses /opt/cni/bin.")
	if len(a.Capabilities) == 0 {
		w.say("There was no runtime configuration (capabilityArgs), such as port mappings.")
	} else {
		var runtime []string
		for _, k := range slices.Sorted(maps.Keys(a.Capabilities)) {
			runtime = append(runtime, k+": "+string(a.Capabilities[k]))
		}
		w.say("The runtime configuration (CAP_ARGS) said:").saw(runtime...).by(m.Name, cached)
	}
	w.part("Answered")
	w.say("The plugin gave %s to %s, and called the machine's end %s. This is its answer, the CNI result:", a.Address(), a.IfName, a.HostInterface()).saw(indented(a.Result)...).by(m.Name, cached+" | jq .result")
	if !a.Live {
		w.wrong("The namespace isn't there any more, and nobody called DEL: the address is still taken.").by(m.Name, "sudo ls -l "+a.NetNS)
	}
}

// conflistNow compares what the plugins were asked with to what is on the machine now.
func (l *Lab) conflistNow(w *writer, m lab.Machine, a fact.Attachment) {
	d := l.Facts.Machines[m.Name].Deep
	conflists := d.Value.Conflists(spec.ConfDir)
	if why := cmp.Or(d.Unknown, conflists.Unknown); why != "" {
		w.unknown("whether that is still the conflist: %s.", why).by(m.Name, fact.Conflists.Command())
		return
	}
	for _, path := range slices.Sorted(maps.Keys(conflists.Value)) {
		text := conflists.Value[path]
		var head struct{ Name string }
		if json.Unmarshal([]byte(text), &head) != nil || head.Name != a.Network {
			continue
		}
		if same([]byte(a.Conflist), []byte(text)) {
			w.say("It is %s, as it still is.", path).by(m.Name, "sudo cat "+path)
		} else {
			w.wrong("%s has been changed since: a DEL is asked with the old one, the next ADD with the new one.", path).by(m.Name, "sudo cat "+path)
		}
		return
	}
	w.wrong("No file in %s describes network %s any more.", spec.ConfDir, a.Network).by(m.Name, "sudo ls "+spec.ConfDir)
}

// same compares JSON, whatever its spaces.
func same(a, b []byte) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func indented(data []byte) []string {
	var b bytes.Buffer
	if json.Indent(&b, data, "", "  ") != nil {
		return []string{string(data)}
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n")
}

package stage

import (
	"fmt"
	"slices"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// orDropped is a finding of something that doesn't answer at a port, or the rule of a packet filter that is why: on one of some machines. Of
// machines that existed before the lab their owner knows better.
func (e *Env) orDropped(found check.Finding, f *fact.Lab, port uint16, machines ...string) check.Finding {
	if found.State == check.Holds || e.Caps.Undo {
		return found
	}
	for _, name := range machines {
		rules := f.Machines[name].Dropping.Value
		i := slices.IndexFunc(rules, func(r fact.Rule) bool { return r.OfPort(port) })
		if i < 0 {
			continue
		}
		m, _ := e.Lab.Machine(name)
		return check.Finding{
			State: check.Broken, Blocks: true, Try: try(m, fact.Rules.Command()),
			Found: fmt.Sprintf("%s\na rule on %s has dropped %s: -A %s %s", found.Found, name, plural(int(rules[i].Packets), "packet"), rules[i].Chain, rules[i].Text),
			Left:  "only who made that rule knows what for; what was changed on the machines is undone by: go tool mage reset",
		}
	}
	return found
}

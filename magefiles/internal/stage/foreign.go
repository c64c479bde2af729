package stage

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// foreignConditions: on a machine that existed before the lab is nothing that the lab would have to stop, replace or remove to do
// its work, which isn't the lab's, so it is refused; and the machine carries the lab's mark.
func foreignConditions(e *Env, m lab.Machine) []check.Condition {
	const mend = "looks again, and stops before anything is touched"
	return []check.Condition{
		on("rivals", m, fact.Processes, "no other program keeps routes or a firewall on "+m.Name, mend,
			func(seen fact.Machine, _ *fact.Lab) check.Finding { return rivalsFinding(seen) }),
		on("ports", m, fact.Ports, "nothing else listens on the lab's ports on "+m.Name, mend,
			func(seen fact.Machine, _ *fact.Lab) check.Finding { return portsFinding(seen, spec.Ports(m.Role)) }),
		on("names", m, fact.Containers, "no container or volume of yours has a name of the lab's on "+m.Name, mend,
			func(seen fact.Machine, _ *fact.Lab) check.Finding { return namesFinding(seen, e.Containers(m)) }),
		markCondition(e, m),
	}
}

// refuse is the finding of faults, which are told all at once.
func refuse(faults []string, ok string) check.Finding {
	if len(faults) > 0 {
		return check.Refuse("%s", strings.Join(faults, "\n"))
	}
	return check.OK("%s", ok)
}

// remedies are why a product is in the way, and what to do.
var remedies = map[string]string{
	fact.Calico:         "two Calicos take away each other's routes and firewall rules; remove that one, or use another machine",
	fact.Kubernetes:     "its pods' network is no lab's to play with; use another machine",
	fact.BIRDDaemon:     "it keeps the routes that calico-node's BIRD is to keep, and BGP's port; stop it: sudo systemctl disable --now bird",
	fact.FRR:            "it keeps the routes that calico-node's BIRD is to keep, and BGP's port; stop it: sudo systemctl disable --now frr",
	fact.Firewalld:      "it drops what Felix' rules let pass, and throws them away when it is loaded again; stop it: sudo systemctl disable --now firewalld",
	fact.UFW:            "it drops what Felix' rules let pass; stop it: sudo ufw disable",
	fact.NetworkManager: `it takes Calico's interfaces for its own; write "[keyfile]" and, on a line of its own, "unmanaged-devices=interface-name:cali*" to /etc/NetworkManager/conf.d/calico.conf, and: sudo systemctl reload NetworkManager`,
}

func rivalsFinding(seen fact.Machine) check.Finding {
	if seen.Rivals.Unknown != "" {
		return check.CantSee("%s", seen.Rivals.Unknown)
	}
	var faults, products []string
	for _, r := range seen.Rivals.Value {
		ours, known := seen.Ours(r.Process)
		if !known {
			return check.CantSee("whose %s is can't be told: %s", process(r.Process), seen.Docker.Unknown)
		}
		if ours || slices.Contains(products, r.Product) {
			continue
		}
		products = append(products, r.Product)
		how := "is switched on"
		if r.Process.PID != 0 {
			how = fmt.Sprintf("runs (%s)", process(r.Process))
		} else if r.Unit != "" {
			how = fmt.Sprintf("starts at boot (%s)", r.Unit)
		}
		faults = append(faults, fmt.Sprintf("%s %s: %s", r.Product, how, remedies[r.Product]))
	}
	return refuse(faults, "none runs")
}

func process(p fact.Process) string {
	switch {
	case p.PID == 0:
		return "a program"
	case p.Container != "":
		return fmt.Sprintf("%s, process %d, in container %.12s", p.Name, p.PID, p.Container)
	}
	return fmt.Sprintf("%s, process %d", p.Name, p.PID)
}

func portsFinding(seen fact.Machine, ports map[uint16]string) check.Finding {
	if seen.Listeners.Unknown != "" {
		return check.CantSee("%s", seen.Listeners.Unknown)
	}
	var faults []string
	told := map[uint16]bool{}
	for _, l := range seen.Listeners.Value {
		use, needed := ports[l.Address.Port()]
		if !needed || told[l.Address.Port()] {
			continue
		}
		ours, known := seen.Ours(l.Process)
		if !known {
			return check.CantSee("whose %s is can't be told: %s", process(l.Process), seen.Docker.Unknown)
		}
		if ours {
			continue
		}
		told[l.Address.Port()] = true
		faults = append(faults, fmt.Sprintf("%s listens on %s, the port at which %s; stop it, or have it listen on another port", process(l.Process), l.Address, use))
	}
	return refuse(faults, "nothing else listens")
}

func namesFinding(seen fact.Machine, wanted []spec.Container) check.Finding {
	if seen.Docker.Unknown != "" {
		return check.CantSee("%s", seen.Docker.Unknown)
	}
	var faults []string
	for _, c := range wanted {
		if is, ok := seen.Docker.Value.Named(c.Name); ok && is.Config.Labels[fact.LabelPart] == "" {
			faults = append(faults, fmt.Sprintf("container %s isn't the lab's, which makes one of that name; rename it (sudo docker rename %[1]s NAME) or remove it (sudo docker rm %[1]s)", c.Name))
		}
		for _, v := range seen.Docker.Value.Volumes {
			if slices.Contains(c.DataVolumes(), v.Name) && v.Labels[fact.LabelPart] == "" && len(seen.Docker.Value.Part(c.Part)) == 0 {
				faults = append(faults, fmt.Sprintf("volume %s isn't the lab's, which makes one of that name; save what is in it, and remove it: sudo docker volume rm %[1]s", v.Name))
			}
		}
	}
	return refuse(faults, "the names are free, or the lab's")
}

// markCondition: a machine that existed before the lab carries its mark, from before anything else is done there.
func markCondition(e *Env, m lab.Machine) check.Condition {
	return on("mark", m, fact.Files, m.Name+" carries this lab's mark", "marks it as this lab's",
		func(seen fact.Machine, _ *fact.Lab) check.Finding {
			is := machine.Mark(seen.Mark.Value)
			switch {
			case seen.Mark.Unknown != "":
				return check.CantSee("%s", seen.Mark.Unknown)
			case is == "":
				return check.Not("it carries no mark in %s", fact.MarkFile)
			case is != e.Mark:
				return check.Refuse("%s", is.Other(m.Name, e.StateDir))
			}
			return check.OK("%s", is)
		})
}

// mark marks machines as this lab's.
func (e *Env) mark(ctx context.Context, machines []lab.Machine) (err error) {
	if e.Mark, err = machine.NewMark(e.StateDir, e.Lab.Name); err != nil {
		return err
	}
	return e.on(ctx, machines, func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		_, err := h.Script(ctx, scripts.Text("calico-traces.sh")+scripts.Text("machine-mark.sh"), string(e.Mark))
		return err
	})
}

// Survey returns what is in the lab's way on a machine that exists already, before anything is done there. look looks at it and
// leaves nothing behind.
func Survey(ctx context.Context, e *Env, m lab.Machine, h *remote.Host, look func(context.Context, *remote.Host) (fact.Machine, error)) ([]string, error) {
	seen, err := look(ctx, h)
	if err != nil {
		return nil, err
	}
	f := &fact.Lab{Machines: map[string]fact.Machine{m.Name: seen}}
	var faults []string
	for _, c := range foreignConditions(e, m) {
		if found := c.Test(f); found.State == check.Refused {
			faults = append(faults, strings.Split(found.Found, "\n")...)
		}
	}
	if seen.Mark.Value != "" {
		return faults, nil
	}
	traces, err := h.Script(ctx, scripts.Text("calico-traces.sh")+"traces")
	if err == nil && traces != "" {
		all := strings.Split(traces, "\n")
		faults = append(faults, fmt.Sprintf("another Calico or BIRD has left something in its kernel: %s; remove that, or boot the machine anew, which does", check.Names(all)))
	}
	return faults, err
}

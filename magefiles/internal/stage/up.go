package stage

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/check"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// up has the machines made and booted, until each answers SSH, has its address and runs Docker Engine.
func up() Stage {
	return Stage{
		Name:       Up,
		Conditions: upConditions,
		Done: func(e *Env, _ *fact.Lab) string {
			return plural(len(e.Lab.Machines), "machine") + " answer SSH and run Docker"
		},
		Apply: applyUp,
		Until: func(*Env, lab.Machine, *fact.Lab) fact.Until {
			return fact.Until{Within: 3 * time.Minute, Docker: true}
		},
		Settled: true,
	}
}

const fullDisk = "make room on the machine's disk: of an nspawn container it is this computer's, of a Docker container its daemon's (docker system df)"

func upConditions(e *Env) []check.Condition {
	var all []check.Condition
	for _, m := range e.Lab.Machines {
		answers := check.Condition{
			ID: id("machine", m.Name), Machine: m.Name, Expected: m.Name + " runs and answers SSH", Mend: "boots it, and makes it first where it is absent", Try: "go tool mage status",
			Test: func(f *fact.Lab) check.Finding {
				why, ok := f.Unreached[m.Name]
				switch {
				case ok && f.Off[m.Name]:
					found := check.Not("%s", why)
					found.Try = "go tool mage start"
					return found
				case ok && strings.Contains(why, "No space left on device"):
					found := check.Not("%s", why)
					found.Left = fullDisk
					return found
				case ok: // it runs, and booting it again may be what somebody doesn't want
					found := check.Not("%s", why)
					found.Left = "the machine runs, but nobody can log in; if it hangs, boot the machines again: go tool mage stop start"
					return found
				}
				return check.OK("%s answers", m.Name)
			},
		}
		link := on("link", m, fact.Links,
			"an interface of "+m.Name+" has its address and is up", "sets up the interface again",
			func(seen fact.Machine, f *fact.Lab) check.Finding {
				found := linkFinding(seen, m.Address)
				if want := e.underlayMTU(f); found.State == check.Holds && want > 0 {
					if l, _ := seen.LinkWith(m.Address); l.MTU < want {
						return check.Not("%s has MTU %d, and other machines' have %d: it gets no longer packet of theirs", l.Name, l.MTU, want)
					}
				}
				return found
			})
		route := on("default-route", m, fact.Routes, m.Name+" has a default route", "sets up the interface again", defaultRoute)
		if !e.Caps.RepairsNetwork {
			link.Left = fmt.Sprintf("the lab doesn't set up the interfaces of machines that exist already; give one of them %s, and bring it up", m.Address)
			route.Left = "the lab doesn't set up the routes of machines that exist already; add one, whatever it leads to: ip route add default via GATEWAY"
		}
		all = append(all, answers, link)
		if m.Role == lab.RoleCalico {
			all = append(all, route)
		}
		if e.Lab.Detours(m.Address) {
			all = append(all, subnetsCondition(e, m))
		}
		packages := on("packages", m, fact.Engine,
			m.Name+" has the programs that the lab needs", "installs the packages",
			func(seen fact.Machine, _ *fact.Lab) check.Finding {
				if len(seen.Lacks) > 0 {
					return check.Not("programs of these packages are missing: %s", strings.Join(seen.Lacks, " "))
				}
				return check.OK("nothing is missing")
			})
		if !e.Caps.Packages {
			packages.Left = "this machine can't reach a package mirror; put the program back, or make the machines anew: go tool mage destroy verify"
		}
		all = append(all, packages,
			on("docker", m, fact.Engine, m.Name+" runs Docker Engine", "starts Docker", func(seen fact.Machine, _ *fact.Lab) check.Finding {
				switch {
				case seen.Docker.Value.Full: // whatever else there is comes of it
					found := check.Not("the disk is full where Docker has its containers, /var/lib/docker")
					found.Left, found.Try = fullDisk, try(m, "df -h /var/lib/docker")
					return found
				case seen.Docker.Unknown != "":
					return check.Not("%s", seen.Docker.Unknown)
				}
				return check.OK("Docker Engine %s", seen.Docker.Value.Version)
			}))
		if e.Caps.Undo {
			all = append(all, foreignConditions(e, m)...)
		}
	}
	return all
}

func linkFinding(seen fact.Machine, a netip.Addr) check.Finding {
	if seen.Links.Unknown != "" {
		return check.CantSee("%s", seen.Links.Unknown)
	}
	l, ok := seen.LinkWith(a)
	switch {
	case !ok:
		return check.Not("no interface has %s", a)
	case !l.Up:
		return check.Not("%s, which has %s, is down", l.Name, a)
	}
	return check.OK("%s has %s", l.Name, a)
}

// underlayMTU is the largest of the interfaces on the underlay, where that is one link that the lab has made; 0 elsewhere: between
// machines that exist already there may be routers, which say what is too long.
func (e *Env) underlayMTU(f *fact.Lab) (largest int) {
	if !e.Caps.RepairsNetwork {
		return 0
	}
	for _, m := range e.Lab.Machines {
		l, _ := f.Machines[m.Name].LinkWith(m.Address)
		largest = max(largest, l.MTU)
	}
	return largest
}

// defaultRoute: without one the kernel doesn't answer ARP for 169.254.1.1, the workloads' next hop, and every workload is
// cut off without an error anywhere.
func defaultRoute(seen fact.Machine, _ *fact.Lab) check.Finding {
	if seen.Routes.Unknown != "" {
		return check.CantSee("%s", seen.Routes.Unknown)
	}
	for _, r := range seen.Routes.Value {
		if r.To.Bits() == 0 && r.Type == "" {
			return check.OK("%s", r)
		}
	}
	return check.Not("there is no default route; workloads get no answer to ARP for 169.254.1.1, their next hop")
}

// subnetsCondition wants a machine's route to the subnet behind the router.
func subnetsCondition(e *Env, m lab.Machine) check.Condition {
	behind, router := e.Lab.Behind, e.Lab.Router
	c := on("subnets", m, fact.Routes, fmt.Sprintf("%s has a route to %s, by the router", m.Name, behind), "sets up the interface again",
		func(seen fact.Machine, _ *fact.Lab) check.Finding {
			if seen.Routes.Unknown != "" {
				return check.CantSee("%s", seen.Routes.Unknown)
			}
			if !slices.ContainsFunc(seen.Routes.Value, func(r fact.Route) bool { return r.To == behind && r.Via == router }) {
				return check.Not("there is no route to %s via %s", behind, router)
			}
			return check.OK("via %s", router)
		})
	if !e.Caps.RepairsNetwork {
		c.Left = fmt.Sprintf("the lab doesn't set up the routes of machines that exist already; add it: ip route add %s via %s", behind, router)
	}
	return c
}

func applyUp(ctx context.Context, e *Env, j Job) error {
	all, err := e.Provider.Status(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(m machine.Status) bool { return m.State != machine.Running }) {
		if err := bringUp(ctx, e); err != nil {
			return err
		}
		if e.Caps.Undo {
			return e.mark(ctx, e.Lab.Machines)
		}
		return e.introduce(ctx, all)
	}
	if e.Caps.Undo {
		unmarked := slices.DeleteFunc(e.where(j), func(m lab.Machine) bool { return !j.Has(m.Name, "mark") })
		if err := e.mark(ctx, unmarked); err != nil {
			return err
		}
	}
	return e.on(ctx, e.where(j), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		return repair(ctx, e, h, m, j)
	})
}

// introduce writes the names of machines that are new into /etc/hosts of those that were there before; those that are made have them.
func (e *Env) introduce(ctx context.Context, before []machine.Status) error {
	var hosts []string
	var old []lab.Machine
	for _, s := range before {
		m, _ := e.Lab.Machine(s.Machine)
		hosts = append(hosts, m.Address.String()+" "+m.Name)
		if s.State != machine.Absent {
			old = append(old, m)
		}
	}
	if !e.Caps.RepairsNetwork || len(old) == len(before) {
		return nil
	}
	return e.on(ctx, old, func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		var s script
		s.line(`while read -r address name; do
	if ! grep -q "[[:space:]]$name\$" /etc/hosts; then echo "$address $name" >>/etc/hosts; fi
done <<<%s`, command.Quote(strings.Join(hosts, "\n")))
		return s.run(ctx, h)
	})
}

// bringUp makes and boots what isn't there, and installs what such a machine lacks.
func bringUp(ctx context.Context, e *Env) error {
	if err := e.Preflight(); err != nil {
		return err
	}
	if err := e.Provider.Preflight(ctx); err != nil {
		return err
	}
	return e.Provider.Up(ctx)
}

// repair mends what is wrong with a machine that runs.
func repair(ctx context.Context, e *Env, h *remote.Host, m lab.Machine, j Job) error {
	seen := j.Facts.Machines[m.Name]
	if len(seen.Lacks) > 0 {
		args := append([]string{"bash", "-s", "--"}, seen.Lacks...)
		if _, err := h.Feed(ctx, strings.NewReader(scripts.Text("machine-packages.sh")), args...); err != nil {
			return fmt.Errorf("installing %s: %w", strings.Join(seen.Lacks, " "), err)
		}
	}
	var s script
	if j.Has(m.Name, "link", "default-route", "subnets") {
		if l, ok := seen.LinkWith(m.Address); ok {
			s.cmd("ip", "link", "set", l.Name, "up")
			if want := e.underlayMTU(j.Facts); l.MTU < want {
				s.cmd("ip", "link", "set", l.Name, "mtu", strconv.Itoa(want))
			}
		}
		// What it configured, it configures again.
		s.cmd("systemctl", "restart", "systemd-networkd")
	}
	if j.Has(m.Name, "docker", "packages") {
		s.cmd("systemctl", "start", "docker.socket", "docker.service")
	}
	return s.run(ctx, h)
}

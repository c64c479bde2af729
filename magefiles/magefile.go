//go:build mage

// Calico CNI Lab: learn Project Calico and CNI hands on, without Kubernetes.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/magefile/mage/mg"

	"github.com/calico-cni-lab/lab/magefiles/internal/ansible"
	"github.com/calico-cni-lab/lab/magefiles/internal/develop"
	"github.com/calico-cni-lab/lab/magefiles/internal/magefile"
	"github.com/calico-cni-lab/lab/magefiles/internal/reference"
	"github.com/calico-cni-lab/lab/magefiles/internal/run"
	"github.com/calico-cni-lab/lab/magefiles/internal/stage"
	"github.com/calico-cni-lab/lab/magefiles/internal/support"
	"github.com/calico-cni-lab/lab/magefiles/internal/target"
)

// The targets, in the order of use: `go tool mage` alone lists them so, each section by its first sentence.

// Default is what `go tool mage` alone does.
var Default = Targets

// Begin here.

// Verify does all that is still to be done, and proves that the lab works.
func Verify(
	ctx context.Context,
	v *bool, // shows every condition
	json *bool, // prints the report for programs
	timeline *bool, // writes what took how long
	forget *string, // MACHINE,...: doesn't enter machines that existed before the lab, were taken out of lab.yaml and are gone for good
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		o := target.VerifyOptions{JSON: given(json), Verbose: given(v), Timeline: given(timeline)}
		if forget != nil {
			o.Forget = strings.Split(*forget, ",")
		}
		return target.Verify(ctx, r, o)
	})
}

// Test runs units, fuzzing and real labs; what takes long is dev:testLong.
func Test(
	ctx context.Context,
	short *bool, // runs units and one quick lab: minutes instead of most of an hour
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return develop.Test(ctx, r, given(short)) })
}

// Learn walks you through a chapter or an experiment: learn [NAME]. Alone, it lists them. Flags stand before the name: learn -play NAME,
// learn -play experiments.
func Learn(
	ctx context.Context,
	play *bool, // runs a chapter's commands, or all chapters', and compares
	update *bool, // does that, and writes what they print into the chapters
	to *string, // NAME/STEP: brings the lab to where that begins
) error {
	o := target.LearnOptions{Play: given(play), Update: given(update), To: value(to, "")}
	err := on(ctx, func(ctx context.Context, r *run.Run) error {
		name, err := target.Chapter(os.Args)
		if err != nil {
			return err
		}
		return target.Learn(ctx, r, name, o)
	})
	if err == nil {
		os.Exit(0) // what is left of the command line was the chapter's name; Mage would take it for a target
	}
	return err
}

// Challenge breaks the lab in a hidden way, or lists the ways: challenge [NAME]. With the list comes your score sheet. A flag stands before
// the name.
func Challenge(
	ctx context.Context,
	seed *int, // decides what is broken, and where: with the same one the same
) error {
	err := on(ctx, func(ctx context.Context, r *run.Run) error {
		name, err := target.ChallengeName(os.Args)
		if err != nil {
			return err
		}
		return target.Challenge(ctx, r, name, seed)
	})
	if err == nil {
		os.Exit(0) // what is left of the command line was the challenge's name; Mage would take it for a target
	}
	return err
}

// See how the lab is.

// Status shows what exists: machines, and a line for each stage.
func Status(ctx context.Context) error { return on(ctx, target.Status) }

// Check looks whether the lab works; changes nothing.
func Check(
	ctx context.Context,
	v *bool, // shows every condition
	json *bool, // prints the report for programs
	spoil *bool, // shows what doesn't hold while a challenge is on, too
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		return target.Check(ctx, r, given(json), given(v), given(spoil))
	})
}

// Plan shows what verify would do, and why; changes nothing. Its exit status is 2 where there is something to do.
func Plan(ctx context.Context) error {
	todo := false
	err := on(ctx, func(ctx context.Context, r *run.Run) (err error) {
		todo, err = target.Plan(ctx, r)
		return err
	})
	if err == nil && todo {
		return mg.Fatal(2, "there is something to do")
	}
	return err
}

// Explain explains an address, a route, a packet's way: explain [WHAT ...]. Also BGP, policies, CNI and etcd. Alone, it lists what can be
// asked.
func Explain(
	ctx context.Context,
	json *bool, // prints the answer for programs
	mermaid *bool, // draws a picture
) error {
	err := on(ctx, target.Explain)
	if err == nil {
		os.Exit(0) // what is left of the command line was the question; Mage would take it for targets
	}
	return err
}

// Graph draws the lab, or where it isn't up what lab.yaml describes.
func Graph(
	ctx context.Context,
	format *string, // mermaid|dot|svg|json: how; mermaid where it isn't said
	what *string, // topology|bgp|blocks|packet: what; topology where it isn't said
	from *string, // MACHINE[/WORKLOAD]: where a packet comes from
	to *string, // MACHINE[/WORKLOAD]: where it goes
	o *string, // FILE: writes it there
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		return target.Graph(ctx, r, target.GraphOptions{Format: value(format, "mermaid"), What: value(what, "topology"), From: value(from, ""), To: value(to, ""), Out: value(o, "")})
	})
}

// Report writes the lab as one HTML page that needs nothing else. It has picture, conditions, workloads, timeline and versions.
func Report(
	ctx context.Context,
	o *string, // FILE: where it is written
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return target.Report(ctx, r, value(o, "")) })
}

// View serves a page that shows the lab live. Only this computer can see it, unless -listen says otherwise.
func View(
	ctx context.Context,
	listen *string, // ADDRESS: listens there, such as 192.0.2.1:8080; whoever opens the page has to know its token
	noBrowser *bool, // opens no browser on a desktop
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		return target.View(ctx, r, value(listen, ""), !given(noBrowser))
	})
}

// SSH logs in to a machine, or runs a command: ssh MACHINE [COMMAND]. ssh all COMMAND runs it on every machine.
func SSH(ctx context.Context, machine string) error {
	err := on(ctx, func(ctx context.Context, r *run.Run) error { return target.SSH(ctx, r, machine) })
	if err == nil {
		os.Exit(0) // what is left of the command line was the command; Mage would take it for targets
	}
	return err
}

// Change it, and come back.

// Reset brings the lab back to its baseline, what verify left it as. It takes away what was made since, and puts back what was changed.
func Reset(ctx context.Context) error { return on(ctx, target.Reset) }

// Destroy removes the machines and everything else that the lab made. The cache stays.
func Destroy(
	ctx context.Context,
	force *bool, // doesn't ask
	forget *string, // MACHINE,...: doesn't enter machines that existed before the lab and are gone for good, or were installed anew
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		o := target.DestroyOptions{Force: given(force)}
		if forget != nil {
			o.Forget = strings.Split(*forget, ",")
		}
		return target.Destroy(ctx, r, o)
	})
}

// Keep it for later.

// Stop halts the machines; what is on them stays.
func Stop(ctx context.Context) error { return on(ctx, target.Stop) }

// Start boots halted machines and brings the lab back.
func Start(ctx context.Context) error { return on(ctx, target.Start) }

// Backup writes what the datastore has to a new file on this computer.
func Backup(
	ctx context.Context,
	o *string, // FILE: writes it there, not to the directory backups beside lab.yaml
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return target.Backup(ctx, r, value(o, "")) })
}

// Bundle writes all that a lab is made of into one file, for a computer without a network.
func Bundle(
	ctx context.Context,
	o *string, // FILE: writes it there, not to the working directory
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return target.Bundle(ctx, r, value(o, "")) })
}

// Restore brings the datastore back to what a backup has, and the lab in line with it: restore FILE.
func Restore(ctx context.Context, file string) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return target.Restore(ctx, r, file) })
}

// While a challenge is on.

// Hint helps with the challenge that is on, three times, each time more.
func Hint(ctx context.Context) error { return on(ctx, target.Hint) }

// Solved says whether the challenge that is on is solved, and ends it then.
func Solved(ctx context.Context) error { return on(ctx, target.Solved) }

// Answer explains what the challenge that is on broke, and how that is mended.
func Answer(ctx context.Context) error { return on(ctx, target.Answer) }

// The stages. Each brings about first what it needs; the order is in package stage, because mg.Deps runs a dependency once
// a process, and `mage verify stop start` has to bring the lab about twice.

// Up makes and boots the machines of lab.yaml.
func Up(ctx context.Context) error { return reach(ctx, stage.Up) }

// Etcd runs etcd, the datastore, in a container on the etcd machine.
func Etcd(ctx context.Context) error { return reach(ctx, stage.Etcd) }

// Calico runs calico-node on the Calico nodes, and puts calicoctl on every machine.
func Calico(ctx context.Context) error { return reach(ctx, stage.Calico) }

// Golang puts the Go toolchain on the Calico nodes.
func Golang(ctx context.Context) error { return reach(ctx, stage.Golang) }

// CNIPlugins puts the CNI plugins and the network's conflist on the Calico nodes.
func CNIPlugins(ctx context.Context) error { return reach(ctx, stage.CNIPlugins) }

// Cnitool puts cnitool on the Calico nodes.
func Cnitool(ctx context.Context) error { return reach(ctx, stage.Cnitool) }

// IPPool makes the IP pool, or brings it in line with lab.yaml.
func IPPool(ctx context.Context) error { return reach(ctx, stage.IPPool) }

// Plumb gives a workload container on each Calico node an interface, and shows it.
func Plumb(ctx context.Context) error { return on(ctx, target.Plumb) }

// Unplumb takes the interfaces, the addresses and the workload containers back.
func Unplumb(ctx context.Context) error { return on(ctx, target.Unplumb) }

// Beside it.

// Logs puts all that is needed to understand the lab into one archive.
func Logs(ctx context.Context) error { return on(ctx, support.Logs) }

// Clean empties the cache; not while a lab is there that is made from it.
func Clean(ctx context.Context) error { return on(ctx, develop.Clean) }

// Targets lists the targets in the order of use. So does `go tool mage` alone.
func Targets() error { return target.List(os.Stdout, "magefiles") }

// Completion prints what a shell completes targets, flags, machines and chapters with: completion SHELL. Of bash: source <(go tool mage
// completion bash).
func Completion(shell string) error { return target.Completion(os.Stdout, ".", shell) }

// Inventory prints Ansible's inventory of the lab, for ansible/inventory.
func Inventory(ctx context.Context) error { return on(ctx, ansible.Print) }

// Work on the lab itself.

// Dev has what they are called with: dev:lint.
type Dev mg.Namespace

// Lint looks for mistakes in the project's own code.
func (Dev) Lint(ctx context.Context) error { return on(ctx, develop.Lint) }

// Fuzz looks for inputs that break what reads lab.yaml and what machines say.
func (Dev) Fuzz(
	ctx context.Context,
	time *time.Duration, // for how long in all; 10m where it isn't said
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		return develop.Fuzz(ctx, r, value(time, develop.FuzzTime))
	})
}

// TestLong runs the tests that make labs, with those that take too long for test.
func (Dev) TestLong(ctx context.Context) error { return on(ctx, develop.TestLong) }

// TestVagrant tests the lab on real virtual machines, on a libvirt of the test's own.
func (Dev) TestVagrant(ctx context.Context) error { return on(ctx, develop.TestVagrant) }

// TestView tests the page that view serves in a real browser, which it installs where there is none.
func (Dev) TestView(ctx context.Context) error { return on(ctx, develop.TestView) }

// TestArchitectures compiles what the lab is made of for the other CPU too, and looks whether it is that.
func (Dev) TestArchitectures(ctx context.Context) error { return on(ctx, develop.TestArchitectures) }

// TestExperiments plays every experiment on a lab of its own.
func (Dev) TestExperiments(ctx context.Context) error { return on(ctx, develop.TestExperiments) }

// TestChallenges plays every challenge in each way in which it breaks the lab.
func (Dev) TestChallenges(ctx context.Context) error { return on(ctx, develop.TestChallenges) }

// Benchmark measures the lab, wall time and CPU, and prints a table. It destroys the lab.
func (Dev) Benchmark(
	ctx context.Context,
	rounds *int, // how many; 3 where it isn't said
	nodes *string, // 10,20,50: labs of so many Calico nodes as well, and a plot
	cold *bool, // with an empty cache, once
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		numbers, err := develop.Numbers(value(nodes, ""))
		if err != nil {
			return err
		}
		return develop.Benchmark(ctx, r, value(rounds, 3), numbers, given(cold))
	})
}

// Faults breaks a lab of its own in every way that is known, looks what check says, mends it with verify, and prints a table.
func (Dev) Faults(
	ctx context.Context,
	only *string, // parts of the faults' names, with commas
	rounds *int, // how many of all faults; 1 where it isn't said
	seed *int, // of their order, and of the moments
	destroy *bool, // destroys the lab broken in each way, too
	kills *int, // how many runs are killed or paused at a random moment
	cycles *int, // how many of up and destroy
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error {
		return develop.Faults(ctx, r, develop.FaultOptions{
			Only: value(only, ""), Rounds: value(rounds, 1), Seed: uint64(value(seed, 0)), Destroy: given(destroy), Kills: value(kills, 0), Cycles: value(cycles, 0),
		})
	})
}

// Race measures the targets against the playbooks and prints a table. It destroys the lab.
func (Dev) Race(
	ctx context.Context,
	rounds *int, // how many; 3 where it isn't said
) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return develop.Race(ctx, r, value(rounds, 3)) })
}

// Box makes the boxes that Vagrant's virtual machines start from.
func (Dev) Box(ctx context.Context) error { return on(ctx, develop.Box) }

// Docs writes the parts of docs/ that the code says: the targets, the keys of lab.yaml, and their schema.
func (Dev) Docs() error {
	changed, err := reference.Write(".")
	for _, file := range changed {
		fmt.Println("written:", file)
	}
	return err
}

// Outdated shows what is pinned, what is newer, and whether lab.yaml allows it.
func (Dev) Outdated(ctx context.Context) error { return on(ctx, develop.Outdated) }

// Bump changes a pin everywhere it stands: dev:bump NAME VERSION.
func (Dev) Bump(ctx context.Context, name, version string) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return develop.Bump(ctx, r, name, version) })
}

// Lock compiles for both architectures, and writes what comes out into components/artifacts.lock, by its SHA-256.
func (Dev) Lock(ctx context.Context) error { return on(ctx, develop.Lock) }

// Publish makes a release of GitHub's of both bundles, in the workflow for a tag.
func (Dev) Publish(ctx context.Context) error { return on(ctx, develop.Publish) }

func reach(ctx context.Context, name string) error {
	return on(ctx, func(ctx context.Context, r *run.Run) error { return target.Reach(ctx, r, name) })
}

// on calls do with the run of this process, whose context ends with whatever ends Mage, too.
func on(ctx context.Context, do func(context.Context, *run.Run) error) error {
	once.Do(func() {
		if errRun = magefile.CheckWords("magefiles", os.Args[1:]); errRun == nil {
			theContext, theRun, errRun = run.New(ctx)
		}
	})
	if errRun != nil {
		return errRun
	}
	return run.Shown(theRun.Console.Advise(do(theContext, theRun)))
}

// The run of this process: Mage passes its targets nothing but a context, the same to all.
var (
	once       sync.Once
	theRun     *run.Run
	theContext context.Context
	errRun     error
)

func given(flag *bool) bool { return flag != nil && *flag }

func value[T any](flag *T, without T) T {
	if flag == nil {
		return without
	}
	return *flag
}

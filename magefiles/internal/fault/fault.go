// Package fault is what goes wrong with a lab, as data, and the rounds in which a lab is broken and mended: healthy, break it, look,
// mend it, healthy. The tests and the target faults share it.
package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Fault is one thing that goes wrong.
type Fault struct {
	Name  string
	Break Act
	// First is the condition that check names first. "" is that it needn't name any: the fault mends itself, or check doesn't need
	// what is broken.
	First string
	// Follows are the kinds of the conditions that may not hold because of it, separated by spaces; Everything is all.
	Follows string
	// Left is a part of what verify says where it is left to the user, and why; "" is that one verify mends it.
	Left string
	// Undo is what the user does then; where nothing is left to him, what he does afterwards, as verify does without.
	Undo Act
	// Chance says that whether verify can do without what is broken is a matter of chance.
	Chance bool
	// Heals says that Calico mends it by itself before long, which may be before check looks: then it is broken again.
	Heals bool
	// Within is how long verify may take, to mend it or to leave it; 0 is Limit.
	Within time.Duration
	// Here is of what is broken on this computer and hides what the lab has there: Undo shows it again.
	Here bool
	// Rare ones take long, or are told apart from others only by where they happen: the tests leave them out.
	Rare bool
}

// Limit is how long one verify may take to mend a fault.
const Limit = time.Minute

// Everything is for faults that any other condition may depend on.
const Everything = "*"

// Act does something to a lab.
type Act func(context.Context, *Lab) error

// on runs a command line on a machine, as its login user.
func on(machine, command string) Act {
	return func(ctx context.Context, l *Lab) error {
		_, err := l.On(ctx, machine, command)
		return err
	}
}

// targets runs targets, as a user types them.
func targets(names ...string) Act {
	return func(ctx context.Context, l *Lab) error {
		_, err := l.Target(ctx, names...)
		return err
	}
}

// InNode is a command line in calico-node's container.
func InNode(command string) string { return "sudo docker exec " + node + " " + command }

// node is calico-node's container, as a shell on its machine finds it.
const node = "$(sudo docker ps -aq --filter label=" + fact.LabelPart + "=" + fact.PartNode + ")"

// InSandbox is a command line in the workload's network namespace.
func InSandbox(command string) string {
	return "sudo nsenter --net=$(sudo docker inspect -f '{{.NetworkSettings.SandboxKey}}' workload) " + command
}

// soon runs a command when the session that asks for it is over: one that cuts it off, or ends it.
func soon(command string) string { return "sudo systemd-run --quiet --on-active=0.3 " + command }

// dropped drops TCP packets to and from a port.
func dropped(port int) string {
	return fmt.Sprintf("for chain in INPUT OUTPUT; do sudo iptables -I $chain -p tcp --dport %[1]d -j DROP && sudo iptables -I $chain -p tcp --sport %[1]d -j DROP || exit; done", port)
}

// Apply feeds a resource to calicoctl.
func Apply(kind, name, spec string) string {
	return fmt.Sprintf(`printf 'apiVersion: projectcalico.org/v3\nkind: %s\nmetadata: {name: %s}\nspec: %s\n' | sudo calicoctl apply -f -`, kind, name, spec)
}

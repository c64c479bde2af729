package stage

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/calico"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

type plumb struct{ *Env }

// Plumb is the stage that runs a workload container without a network on each Calico node, and has cnitool give it
// an interface in its sandbox.
func Plumb(e *Env) Stage { return plumb{e} }

func (plumb) Name() string { return "plumb" }

func (s plumb) container(m lab.Machine, image artifact.Image) container {
	return container{
		part: "workload", name: calico.WorkloadContainer, image: image,
		network: "none", hostname: "workload-" + m.Name, seccomp: true, init: true, grace: 1,
		cmd: []string{
			"socat", fmt.Sprintf("TCP-LISTEN:%d,fork,reuseaddr", calico.WorkloadPort),
			fmt.Sprintf("SYSTEM:echo workload on %s sees you as $SOCAT_PEERADDR", m.Name),
		},
	}
}

func (s plumb) Check(ctx context.Context) (bool, string, error) {
	images, err := s.Maker.Images(ctx)
	if err != nil {
		return false, "", err
	}
	var mu sync.Mutex
	plumbed := map[string]calico.Plumbed{}
	done, text, err := s.check(ctx, s.nodes(), "", func(ctx context.Context, m lab.Machine, h *remote.Host) (string, error) {
		return first(
			func() (string, error) { return s.container(m, images.Workload).lack(ctx, h) },
			func() (string, error) {
				w, lack, err := calico.Workload(ctx, h, s.Lab, m)
				mu.Lock()
				defer mu.Unlock()
				plumbed[m.Name] = w
				return lack, err
			},
		)
	})
	if done {
		var all []string
		for _, m := range s.nodes() {
			all = append(all, fmt.Sprintf("%s has %s", m.Name, plumbed[m.Name].Address))
		}
		text = strings.Join(all, ", ")
	}
	return done, text, err
}

func (s plumb) Apply(ctx context.Context) error {
	images, err := s.Maker.Images(ctx)
	if err != nil {
		return err
	}
	// One add at a time: each makes the network's profile where it is missing, and of two that both find it missing
	// the second fails ("resource already exists: Profile").
	var adding sync.Mutex
	return s.on(ctx, s.nodes(), func(ctx context.Context, m lab.Machine, h *remote.Host) error {
		if err := h.NoteNew(ctx, "/var/lib/cni"); err != nil {
			return err
		}
		if err := s.container(m, images.Workload).ensure(ctx, h); err != nil {
			return err
		}
		if _, lack, err := calico.Workload(ctx, h, s.Lab, m); err != nil || lack == "" {
			return err
		}
		key, err := calico.SandboxKey(ctx, h)
		if err != nil {
			return err
		}
		// A container that was restarted has another sandbox; the old one's address would stay taken. And an add
		// that was cut off would be half there.
		if err := detach(ctx, h, s.Lab.Network, key, func(a calico.Attachment) bool { return !a.Live }); err != nil {
			return err
		}
		adding.Lock()
		defer adding.Unlock()
		_, err = calico.Add(ctx, h, s.Lab.Network, key)
		return err
	})
}

// detach runs `cnitool del` for a sandbox, where there is one, and for the attachments that match.
func detach(ctx context.Context, h *remote.Host, network, key string, match func(calico.Attachment) bool) error {
	attachments, err := calico.Attachments(ctx, h, network)
	if err != nil {
		return err
	}
	var keys []string
	if key != "" {
		keys = append(keys, key)
	}
	for _, a := range attachments {
		if a.NetNS != key && match(a) {
			keys = append(keys, a.NetNS)
		}
	}
	for _, k := range keys {
		if err := calico.Del(ctx, h, network, k); err != nil {
			return err
		}
	}
	return nil
}

// Unplumb takes back what Plumb did: interface, address and container.
func Unplumb(ctx context.Context, e *Env) error {
	return e.on(ctx, e.nodes(), func(ctx context.Context, _ lab.Machine, h *remote.Host) error {
		// A machine that never had cnitool has nothing attached by it.
		program, err := calico.Cnitool(ctx, h)
		if err != nil {
			return err
		}
		if _, err := h.Sudo(ctx, "test", "-x", program); err == nil {
			key, err := calico.SandboxKey(ctx, h)
			if err != nil {
				key = ""
			}
			if err := detach(ctx, h, e.Lab.Network, key, func(calico.Attachment) bool { return true }); err != nil {
				return err
			}
		}
		ids, err := h.Sudo(ctx, "docker", "ps", "--all", "--quiet", "--filter", "label="+labelPart+"=workload")
		if err != nil || ids == "" {
			return err
		}
		_, err = h.Sudo(ctx, append([]string{"docker", "rm", "--force"}, strings.Fields(ids)...)...)
		return err
	})
}

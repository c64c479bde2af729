package docker

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// Destroy implements machine.Provider. What isn't there any more is no error.
func (p *Provider) Destroy(ctx context.Context) error {
	d, made, err := readDaemon(p.StateDir)
	if err != nil {
		return err
	}
	if !made && !installed() {
		return nil // nothing can have been made
	}
	if !made {
		d = here()
	}
	ids, err := p.mine(ctx, d, made)
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, step := range []struct{ list, remove []string }{
			{[]string{"ps", "--all", "--quiet"}, []string{"rm", "--force", "--volumes"}},
			{[]string{"network", "ls", "--quiet"}, []string{"network", "rm"}},
			{[]string{"volume", "ls", "--quiet"}, []string{"volume", "rm"}}, // of a container that somebody removed
		} {
			if err := p.removeAll(ctx, d, append(step.list, "--filter", "label="+labelID+"="+id), step.remove); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeAll removes what a command lists. Something that goes by itself meanwhile is no error.
func (p *Provider) removeAll(ctx context.Context, d daemon, list, remove []string) error {
	out, err := p.docker(ctx, d, list...)
	if err != nil || out == "" {
		return err
	}
	_, failed := p.dockerFor(ctx, d, buildTimeout, append(slices.Clone(remove), strings.Fields(out)...)...)
	if failed == nil {
		return nil
	}
	left, err := p.docker(ctx, d, list...)
	if err == nil && left != "" {
		err = failed
	}
	return err
}

// mine returns the IDs under which this lab has something at the daemon. made says whether the lab's own is known.
func (p *Provider) mine(ctx context.Context, d daemon, made bool) ([]string, error) {
	var ids []string
	if made {
		ids = append(ids, d.ID)
	}
	format := fmt.Sprintf(`{{.Label %q}}|{{.Label %q}}`, labelID, labelOwner)
	for _, list := range [][]string{{"ps", "--all"}, {"network", "ls"}} {
		out, err := p.docker(ctx, d, append(list, "--filter", "label="+labelLab+"="+p.Plan.Name, "--format", format)...)
		if err != nil {
			return nil, err
		}
		for line := range strings.SplitSeq(out, "\n") {
			id, owner, ok := strings.Cut(line, "|")
			if !ok || slices.Contains(ids, id) {
				continue
			}
			if made {
				continue // another lab's of this name, which was refused when this one was made
			}
			if owner != p.owner() && p.TakeOver != p.Plan.Name {
				return nil, p.inUse(owner)
			}
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (p *Provider) inUse(owner string) error {
	err := fmt.Errorf("the lab name %q is in use at this Docker daemon by the lab of %s; destroy it there, or give this lab another name in lab.yaml", p.Plan.Name, owner)
	if owner == p.owner() {
		return fmt.Errorf("%w. If its state directory was lost: go tool mage destroy", err)
	}
	return fmt.Errorf("%w. If that is gone for good, remove what is left of it: %s=%s go tool mage destroy", err, machine.TakeOverVariable, p.Plan.Name)
}

// clean removes the lab's images from the daemon that the docker command talks to.
func clean(ctx context.Context, o machine.Options) error {
	if !installed() {
		return nil
	}
	p, d := New(o), here()
	if _, err := p.info(ctx, d); err != nil {
		o.Notice("no Docker daemon answers (%s); images that the lab may have there stay", d)
		return nil //nolint:nilerr // most computers have none
	}
	owners, err := p.docker(ctx, d, "ps", "--all", "--filter", "label="+labelLab, "--format", fmt.Sprintf(`{{.Label %q}}`, labelOwner))
	if err != nil {
		return err
	}
	if users := strings.Fields(owners); len(users) > 0 {
		slices.Sort(users)
		return fmt.Errorf("the lab's images at the Docker daemon are in use by the lab of %s; destroy it there first", strings.Join(slices.Compact(users), " and the one of "))
	}
	for _, step := range []struct{ list, remove []string }{
		{[]string{"ps", "--all", "--quiet", "--filter", "label=" + labelBox}, []string{"rm", "--force", "--volumes"}},
		{[]string{"image", "ls", "--filter", "label=" + labelBox, "--format", `{{if eq .Tag "<none>"}}{{.ID}}{{else}}{{.Repository}}:{{.Tag}}{{end}}`}, []string{"image", "rm"}},
	} {
		if err := p.removeAll(ctx, d, step.list, step.remove); err != nil {
			return err
		}
	}
	return nil
}

package vagrant

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine/box"
)

// addTimeout is for Vagrant to unpack a box.
const addTimeout = 5 * time.Minute

// addBox adds the lab's own box to Vagrant, unless it is there as it is made today.
func (p *Provider) addBox(ctx context.Context, provider string) error {
	if p.Lab.Vagrant.Box != lab.OwnBox {
		return nil // Vagrant fetches it
	}
	file, err := box.Make(ctx, p.Options, provider)
	if err != nil {
		return err
	}
	out, err := p.ask(ctx, "box", "list", "--box-info", machineReadable)
	if err != nil {
		return err
	}
	if newest(parseBoxes(out), provider).recipe == file.Recipe {
		return nil
	}
	// The version is the time: the newest that is installed is the last that was made.
	cat, err := catalog(provider, time.Now().UTC().Format("20060102.150405")+".0", file.Path)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp("", "calico-cni-lab-*.json")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if _, err := temp.Write(cat); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	p.Notice("adding the box %s to Vagrant", lab.OwnBox)
	_, err = p.vagrant(ctx, p.LabFile, addTimeout, "box", "add", temp.Name(), "--provider="+provider)
	return err
}

// Box implements machine.Boxer: the box as Vagrant adds it, for the provider that this computer has.
func (p *Provider) Box(ctx context.Context) (string, bool, error) {
	if p.Lab.Vagrant.Box != lab.OwnBox {
		return "", false, fmt.Errorf("lab.yaml has Vagrant fetch the box %s, which a bundle can't have; take %s", p.Lab.Vagrant.Box, lab.OwnBox)
	}
	provider, err := p.provider(ctx)
	if err != nil {
		return "", false, err
	}
	file, err := box.Make(ctx, p.Options, provider)
	return filepath.Dir(file.Path), false, err
}

// newest returns the newest of the lab's own boxes. Their versions are times, so they sort as text.
func newest(boxes []installedBox, provider string) installedBox {
	var best installedBox
	for _, b := range boxes {
		if b.name == lab.OwnBox && b.provider == provider && b.version > best.version {
			best = b
		}
	}
	return best
}

package vagrant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// home is Vagrant's own directory of this user: boxes, and which machines there are.
func home() (string, error) {
	if dir := os.Getenv("VAGRANT_HOME"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserHomeDir()
	return filepath.Join(dir, ".vagrant.d"), err
}

// cacheUsers returns the directories of the machines, of any project, that this user's Vagrant made from the lab's own box.
func cacheUsers(context.Context, machine.Options) ([]string, error) {
	dir, err := home()
	if err != nil {
		return nil, nil //nolint:nilerr // without a home directory there is no Vagrant
	}
	file := filepath.Join(dir, "data", "machine-index", "index")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index struct {
		Machines map[string]struct {
			Name, Provider string
			DataPath       string                              `json:"local_data_path"`
			Extra          struct{ Box struct{ Name string } } `json:"extra_data"`
		}
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s, where Vagrant keeps its machines: %w", file, err)
	}
	var users []string
	for _, m := range index.Machines {
		if m.Extra.Box.Name != lab.OwnBox {
			continue
		}
		// An entry outlives a machine that wasn't destroyed by Vagrant.
		if _, err := os.Stat(filepath.Join(m.DataPath, "machines", m.Name, m.Provider, "id")); !errors.Is(err, fs.ErrNotExist) {
			users = append(users, filepath.Dir(m.DataPath))
		}
	}
	slices.Sort(users)
	return slices.Compact(users), nil
}

// clean removes the lab's own boxes from Vagrant, and what vagrant-libvirt made of them: the volumes that machines' disks are based on,
// which stay in libvirt's storage pool when the machines and the box are gone.
func clean(ctx context.Context, o machine.Options) error {
	dir, err := os.MkdirTemp("", "calico-cni-lab-clean.") // no Vagrantfile is there
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.ProjectDir, o.StateDir, o.LabFile = dir, filepath.Join(dir, ".lab"), filepath.Join(dir, "lab.yaml")
	p := New(o)
	if err := p.removeVolumes(ctx); err != nil { // of which one may be in use by a machine of another user's
		return err
	}
	return p.removeBoxes(ctx)
}

func (p *Provider) removeBoxes(ctx context.Context) error {
	dir, err := home()
	if err != nil {
		return nil //nolint:nilerr // without a home directory there is no Vagrant
	}
	if _, err := os.Stat(filepath.Join(dir, "boxes", lab.OwnBox)); errors.Is(err, fs.ErrNotExist) {
		return nil // it isn't asked: it takes two seconds to answer
	}
	out, err := p.ask(ctx, "box", "list", "--box-info", machineReadable)
	if err != nil {
		return err
	}
	for _, b := range parseBoxes(out) {
		if b.name != lab.OwnBox || b.recipe == "" {
			continue
		}
		if _, err := p.vagrant(ctx, p.LabFile, addTimeout, "box", "remove", b.name, "--provider="+b.provider, "--box-version="+b.version, "--force"); err != nil {
			return err
		}
		p.Notice("the box %s (%s, %s) is removed from Vagrant", b.name, b.provider, b.version)
	}
	return nil
}

// baseVolume is what vagrant-libvirt calls a volume that it made of one of the lab's own boxes, whose versions are times (addBox).
var baseVolume = regexp.MustCompile(`^` + lab.OwnBox + `_vagrant_box_image_\d{8}\.\d{6}\.0_\w+\.img$`)

// volume is one of libvirt's storage volumes.
type volume struct{ pool, name, path string }

// libvirtSocket is where libvirt answers.
const libvirtSocket = "/run/libvirt/libvirt-sock"

func (p *Provider) removeVolumes(ctx context.Context) error {
	if _, err := exec.LookPath("virsh"); err != nil {
		return nil //nolint:nilerr // vagrant-libvirt brings it, Debian's recommends it
	}
	if _, err := os.Stat(libvirtSocket); err != nil {
		return nil //nolint:nilerr // libvirt doesn't run, or never did
	}
	all, err := p.volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range all {
		if !baseVolume.MatchString(v.name) {
			continue
		}
		if user, err := p.basedOn(ctx, all, v); err != nil || user != "" {
			return cmp.Or(err, fmt.Errorf("the volume %s is in use by %s, a machine's disk; destroy that machine first", v.name, user))
		}
		if _, err := p.virsh(ctx, "vol-delete", "--pool", v.pool, "--vol", v.name); err != nil {
			return err
		}
		p.Notice("the volume %s is removed from libvirt", v.name)
	}
	return nil
}

func (p *Provider) virsh(ctx context.Context, args ...string) (string, error) {
	uri := cmp.Or(os.Getenv("LIBVIRT_DEFAULT_URI"), "qemu:///system") // vagrant-libvirt's choice
	return p.Run.Output(ctx, append([]string{"virsh", "--quiet", "--connect", uri}, args...)...)
}

// volumes are those of all pools.
func (p *Provider) volumes(ctx context.Context) ([]volume, error) {
	pools, err := p.virsh(ctx, "pool-list", "--name")
	if err != nil {
		return nil, err
	}
	var all []volume
	for pool := range strings.FieldsSeq(pools) {
		list, err := p.virsh(ctx, "vol-list", "--pool", pool)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(list) {
			if name, path, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				all = append(all, volume{pool, name, strings.TrimSpace(path)})
			}
		}
	}
	return all, nil
}

// basedOn returns a volume that has what it doesn't hold itself from base, "" where there is none.
func (p *Provider) basedOn(ctx context.Context, all []volume, base volume) (user string, err error) {
	for _, v := range all {
		if v == base {
			continue
		}
		xml, err := p.virsh(ctx, "vol-dumpxml", "--pool", v.pool, "--vol", v.name)
		if err != nil {
			return "", err
		}
		if _, below, ok := strings.Cut(xml, "<backingStore>"); ok && strings.Contains(below, "<path>"+base.path+"</path>") {
			return v.name, nil
		}
	}
	return "", nil
}

package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/scripts"
)

// holder is whose a lab of nspawn containers is: what stands in the file `owner` of its directory, a line each.
type holder struct {
	stateDir string
	uid      int    // -1 where an older version of this project wrote the file
	mount    string // the mount point and the file system that stateDir was on; "" where it isn't known
	text     string // as it was read
}

func parseHolder(text string) (holder, error) {
	text = strings.TrimRight(text, "\n")
	lines := append(strings.Split(text, "\n"), "", "")
	o := holder{stateDir: lines[0], uid: -1, mount: lines[2], text: text}
	if !filepath.IsAbs(o.stateDir) {
		return o, fmt.Errorf("it names no directory: %q", text)
	}
	if lines[1] == "" {
		return o, nil
	}
	var err error
	o.uid, err = strconv.Atoi(lines[1])
	return o, err
}

// user is the holder's name, as people know it.
func (o holder) user() string {
	if o.uid < 0 {
		return "an unknown user"
	}
	u, err := user.LookupId(strconv.Itoa(o.uid))
	if err != nil {
		return fmt.Sprintf("the user %d", o.uid)
	}
	return "the user " + u.Username
}

// me is this lab as a holder.
func (p *Provider) me(ctx context.Context) (holder, error) {
	o := holder{stateDir: p.StateDir, uid: os.Getuid()}
	mount, err := p.Run.Output(ctx, "stat", "--format=%m", "--", p.StateDir)
	if err != nil {
		return o, err
	}
	system, err := p.Run.Output(ctx, "stat", "--file-system", "--format=%i", "--", p.StateDir)
	o.mount = mount + " " + system
	o.text = fmt.Sprintf("%s\n%d\n%s", o.stateDir, o.uid, o.mount)
	return o, err
}

// holder reads whose the lab of this name is; there is none where exists is false.
func (p *Provider) holder() (o holder, exists bool, err error) {
	file := filepath.Join(p.labDir(), "owner")
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		entries, err := os.ReadDir(p.labDir())
		if len(entries) > 0 {
			err = fmt.Errorf("%s doesn't say whose it is: its file owner is missing; move it away, or give this lab another name in lab.yaml", p.labDir())
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return o, false, err
	case err != nil:
		return o, false, err
	}
	if o, err = parseHolder(string(data)); err != nil {
		err = fmt.Errorf("%s: %w; give this lab another name in lab.yaml", file, err)
	}
	return o, true, err
}

// mine: root may do in a user's checkout what the user may.
func (p *Provider) mine(o holder) bool {
	return o.stateDir == p.StateDir && (o.uid == os.Getuid() || o.uid < 0 || os.Getuid() == 0)
}

// checkOwner refuses a lab of the same name that isn't this one. It needs no root, so it may not see whether that one's directory
// is still there.
func (p *Provider) checkOwner() error {
	o, exists, err := p.holder()
	if err != nil {
		return err
	}
	if !exists {
		if p.labGroup().runs() {
			return fmt.Errorf("the directory of the lab %q, %s, was removed under its machines, which run on; end them: go tool mage destroy",
				p.Plan.Name, p.labDir())
		}
		if _, err := os.Lstat("/run/netns/" + p.netns()); err == nil {
			return fmt.Errorf("there is a network namespace %q that no lab made; remove it with: ip netns del %[1]s, or give the lab another name in lab.yaml", p.netns())
		}
		return nil
	}
	if p.mine(o) {
		return nil
	}
	if _, err := os.Stat(o.stateDir); err == nil {
		return p.inUse(o)
	}
	return fmt.Errorf("%w. If that directory is gone for good, remove what is left of its lab: %s", p.inUse(o), p.takeOver(o))
}

func (p *Provider) inUse(o holder) error {
	return fmt.Errorf("the lab name %q is in use by the lab in %s, of %s; destroy it there, or give this lab another name in lab.yaml",
		p.Plan.Name, filepath.Dir(o.stateDir), o.user())
}

// takeOver is the command line that removes what is left of a lab.
func (p *Provider) takeOver(o holder) string {
	if o.uid == os.Getuid() {
		return "go tool mage destroy"
	}
	return fmt.Sprintf("%s=%s go tool mage destroy", machine.TakeOverVariable, p.Plan.Name)
}

// claim makes this lab the owner of its directory, if it is new, its own already, or left over from a lab that is gone. Root looks
// whether that one is: a home directory may be closed to others. It certainly is where what is left of the path is on the same mount
// as the whole path was; else something may only not be mounted, and then, as for another user's lab, the user has to say that it is
// gone.
func (p *Provider) claim(ctx context.Context, leftovers bool) error {
	if err := p.becomeRoot(ctx); err != nil {
		return err
	}
	before, exists, err := p.holder()
	if err != nil {
		return err
	}
	if exists && !p.mine(before) {
		if !leftovers {
			return p.checkOwner()
		}
		if err := p.gone(ctx, before); err != nil {
			return err
		}
		p.Notice("removing what is left of the lab in %s, which is gone", filepath.Dir(before.stateDir))
	}
	me, err := p.me(ctx)
	if err != nil {
		return err
	}
	_, err = p.Run.Root(ctx, "bash", "-c", scripts.Text("nspawn-claim.sh"), "nspawn-claim.sh", p.labDir(), me.text, before.text)
	return err
}

// gone returns an error unless a holder's directory is gone.
func (p *Provider) gone(ctx context.Context, o holder) error {
	said, err := p.Run.Root(ctx, "bash", "-c", scripts.Text("owner-gone.sh"), "owner-gone.sh", o.stateDir, o.mount)
	if err != nil {
		return err
	}
	what, why, _ := strings.Cut(said, ": ")
	switch {
	case what == "there":
		return p.inUse(o)
	case what == "unknown":
		return fmt.Errorf("%w. Whether it is still there can't be seen: %s", p.inUse(o), why)
	case p.TakeOver == p.Plan.Name || what == "gone" && o.uid == os.Getuid():
		return nil
	case what == "gone":
		return fmt.Errorf("%w. That directory is gone; if this is not that user's to do, remove what is left with: %s", p.inUse(o), p.takeOver(o))
	}
	o.uid = -1
	return fmt.Errorf("%w. That directory isn't there now, but %s. If it is gone for good, remove what is left with: %s", p.inUse(o), why, p.takeOver(o))
}

// cacheUsers returns the directories of the labs whose machines have layers in the trees' cache. Root reads, because other users'
// labs are there too.
func cacheUsers(ctx context.Context, o machine.Options) ([]string, error) {
	labs := filepath.Join(machine.Home, "labs")
	if !computer.Exists(labs) || !computer.Exists(o.Store.Dir) { // this user's trees: without them no root is needed
		return nil, nil
	}
	out, err := o.Run.Root(ctx, "bash", "-c", scripts.Text("nspawn-cache-users.sh"), "nspawn-cache-users.sh", labs, o.Store.Dir)
	var users []string
	for line := range bytes.Lines([]byte(out)) {
		users = append(users, filepath.Dir(string(bytes.TrimSpace(line))))
	}
	return users, err
}

package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/magefiles/internal/spec"
	"github.com/calico-cni-lab/lab/scripts"
)

// script is what is to be done on one machine as root, in one session.
type script struct {
	strings.Builder
	steps int // those that take a while, by which it has time
}

// cmd adds a command; its output is thrown away.
func (s *script) cmd(args ...string) { s.step("%s >/dev/null", command.Quote(args...)) }

// line adds a line of shell as it stands.
func (s *script) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// step is line for a command that takes a while: it makes or ends a container, or plumbs one.
func (s *script) step(format string, args ...any) {
	s.steps++
	s.line(format, args...)
}

// fills adds the noting of what programs that run there will make, so that it can be taken back: patterns. A directory with a
// slash at its end goes only if it is empty then.
func (s *script) fills(patterns ...string) {
	s.line("%sjournal_open\nnote_filled %s\njournal_close", scripts.Text("note-original.sh"), command.Quote(patterns...))
}

// resource adds the writing of one of Calico's resources.
func (s *script) resource(r any) error {
	data, err := json.Marshal(r)
	if err == nil {
		s.line("calicoctl apply --filename=- >/dev/null <<<%s", command.Quote(string(data)))
	}
	return err
}

// restore adds the giving back of paths that the lab has no use for any more: what was there before it comes back.
func (s *script) restore(paths []string) {
	if len(paths) > 0 {
		s.line("%s%sjournal_open\nrestore %s\njournal_close", scripts.Text("note-original.sh"), scripts.Text("restore-originals.sh"), command.Quote(paths...))
	}
}

// run runs the script, if there is anything in it.
func (s *script) run(ctx context.Context, h *remote.Host) error {
	if s.Len() == 0 {
		return nil
	}
	_, err := h.Steps(ctx, s.steps, "set -euo pipefail\n"+scripts.Text("at-work.sh")+s.String())
	return err
}

// create adds the making of a container in place of what there is of its part: another version's, a half-made one. A
// container that somebody else made under its name stays, and Docker says so.
func (s *script) create(c spec.Container, have fact.Docker) {
	for _, old := range c.Of(have) {
		s.cmd("docker", "rm", "--force", old.ID)
	}
	for _, v := range c.DataVolumes() { // Docker would make it without a label
		s.cmd(append([]string{"docker", "volume", "create"}, c.VolumeFlags(v)...)...)
	}
	s.cmd(append([]string{"docker", "create"}, c.Flags()...)...)
}

// ensure adds what makes a container run as it should.
func (s *script) ensure(c spec.Container, have fact.Docker) {
	if c.Faults(have, false) != "" {
		s.create(c, have)
	}
	if c.Faults(have, true) != "" {
		s.cmd("docker", "start", c.Name)
	}
}

// load sees that a machine has an image. Images that share an archive come to a machine together: two stages that want one each
// at the same time load it once.
func (e *Env) load(ctx context.Context, h *remote.Host, img artifact.Image, have fact.Docker) error {
	if have.Images[img.Ref] == img.ID {
		return nil
	}
	_, err, _ := e.loading.Do(h.Name+" "+img.Archive, func() (any, error) { return nil, loadArchive(ctx, h, img) })
	return err
}

func loadArchive(ctx context.Context, h *remote.Host, img artifact.Image) error {
	if _, err := h.Stream(ctx, img.Archive, scripts.Text("at-work.sh")+"docker load --quiet"); err != nil {
		return fmt.Errorf("loading %s: %w", img.Ref, err)
	}
	return nil
}

// put puts those of files that a machine lacks or has otherwise.
func (e *Env) put(ctx context.Context, h *remote.Host, files []remote.File, seen fact.Machine) error {
	kept, err := h.Put(ctx, differing(files, seen)...)
	e.kept(h, kept)
	return err
}

// kept tells the user what became of what they had changed on a machine.
func (e *Env) kept(h *remote.Host, lines string) {
	for line := range strings.Lines(lines) {
		e.Notice("%s: %s", h.Name, strings.TrimSpace(line))
	}
}

// differing are those of files that a machine lacks or has otherwise, as they have to be put there.
func differing(files []remote.File, seen fact.Machine) []remote.File {
	other := slices.DeleteFunc(slices.Clone(files), func(f remote.File) bool { return fileFault(f, seen) == "" })
	return spec.ForLogin(other, seen.Login)
}

// fileFault says what a file is otherwise on a machine, "" where it is as it should be.
func fileFault(f remote.File, seen fact.Machine) string {
	is, ok := seen.Files.Value[f.Path]
	want := spec.ForLogin([]remote.File{f}, seen.Login)[0]
	switch {
	case !ok:
		return f.Path + " is missing"
	case f.Link != "" && is.Link != f.Link:
		return fmt.Sprintf("%s is not a link to %s", f.Path, f.Link)
	case f.Link != "":
		return ""
	case is.SHA256 != f.Sum():
		return f.Path + " has other contents"
	case is.Mode != fmt.Sprintf("%o", f.Mode.Perm()):
		return fmt.Sprintf("%s has mode %s, not %o", f.Path, is.Mode, f.Mode.Perm())
	case want.Owner != "" && is.Owner != want.Owner, want.Owner == "" && is.Owner != "root:root":
		return fmt.Sprintf("%s belongs to %s", f.Path, is.Owner)
	}
	return ""
}

// filesFault is fileFault of several.
func filesFault(files []remote.File, seen fact.Machine) string {
	first, more := "", 0
	for _, f := range files {
		if fault := fileFault(f, seen); fault != "" && first == "" {
			first = fault
		} else if fault != "" {
			more++
		}
	}
	if more > 0 {
		first += fmt.Sprintf(", and something is wrong with %d more", more)
	}
	return first
}

// Release gives addresses back that IPAM has for workloads that are gone.
func (e *Env) Release(ctx context.Context, addresses []netip.Addr) error {
	var s script
	for _, a := range addresses {
		s.cmd("calicoctl", "ipam", "release", "--ip="+a.String())
	}
	return e.onEtcd(ctx, func(ctx context.Context, h *remote.Host) error { return s.run(ctx, h) })
}

// datastore feeds resources to calicoctl on an etcd machine.
func (e *Env) datastore(ctx context.Context, doing string, args []string, resources []byte) error {
	return e.onEtcd(ctx, func(ctx context.Context, h *remote.Host) error {
		if _, err := h.Feed(ctx, bytes.NewReader(resources), append([]string{"calicoctl"}, args...)...); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		return nil
	})
}

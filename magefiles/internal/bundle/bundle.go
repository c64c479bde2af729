package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// Variable names a bundle: a file, a directory with one, or a URL of either.
const Variable = "LAB_BUNDLE"

// Bundle is an artifact.Stock: it is opened when the first artifact is asked for.
type Bundle struct {
	Named  string            // by Variable
	Arch   string            // GOARCH of the machines
	Layer  string            // the hardware layer
	Locked map[string]string // SHA-256 of the compiled programs; see artifact.ReadLock
	Pins   map[string]string // this checkout's
	Run    *command.Runner

	mu       sync.Mutex
	opened   bool
	manifest Manifest
	start    int64 // of the first artifact's frame
	source   source
	where    string
	err      error // why it can't be used, for everybody who asks
}

// open reads the manifest, once.
func (b *Bundle) open(ctx context.Context) (Manifest, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.opened {
		b.source, b.where = find(b.Named, b.Arch)
		b.manifest, b.start, b.err = read(ctx, b.source)
		if b.err == nil && b.manifest.Arch != b.Arch {
			b.err = fmt.Errorf("it is for %s, and the machines are %s; take %s", b.manifest.Arch, b.Arch, Name(b.Arch))
		}
		if b.err != nil {
			b.err = b.refused(b.err)
		}
		b.opened = ctx.Err() == nil
	}
	return b.manifest, b.err
}

func (b *Bundle) refused(err error) error {
	return fmt.Errorf("the bundle %s (%s) can't be used: %w; without it everything is fetched and compiled: unset %[2]s", b.where, Variable, err)
}

func read(ctx context.Context, s source) (Manifest, int64, error) {
	first, err := part(ctx, s, 0, headSize)
	if err != nil {
		return Manifest{}, 0, err
	}
	size, err := manifestSize(first)
	if err != nil {
		return Manifest{}, 0, err
	}
	frame, err := part(ctx, s, headSize, size)
	if err != nil {
		return Manifest{}, 0, err
	}
	m, err := decodeManifest(frame)
	return m, headSize + size, err
}

func part(ctx context.Context, s source, offset, size int64) ([]byte, error) {
	r, err := s.section(ctx, offset, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, size)
	_, err = io.ReadFull(r, data)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = fmt.Errorf("it ends early; fetch it again (%w)", err)
	}
	return data, err
}

// machinesOwn are artifacts that are made in another way on each layer.
var machinesOwn = []string{"base", "images", "box"}

// Has implements artifact.Stock. An artifact that the bundle has with other inputs is an error: it was made by another commit.
func (b *Bundle) Has(ctx context.Context, key string, root bool) (bool, error) {
	m, err := b.open(ctx)
	if err != nil {
		return false, err
	}
	name := nameOf(key)
	for _, a := range m.Artifacts {
		if a.Root != root {
			continue
		}
		if a.Key == key {
			return true, nil
		}
		if nameOf(a.Key) == name && (m.Layer == b.Layer || !slices.Contains(machinesOwn, name)) {
			return false, b.refused(fmt.Errorf("its %s is another one than this checkout's (%s); take one that was made by this commit", name, differences(m.Pins, b.Pins)))
		}
	}
	return false, nil
}

// nameOf is what a key begins with: what the artifact is.
func nameOf(key string) string { return key[:max(0, strings.LastIndex(key, "-"))] }

// differences are those of pins, for a person.
func differences(theirs, ours map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if theirs[name] != ours[name] {
			all = append(all, fmt.Sprintf("%s %s, here %s", name, cmp.Or(theirs[name], "none"), ours[name]))
		}
	}
	return cmp.Or(strings.Join(all, "; "), "the same releases, made in another way")
}

// unpackTime bounds the taking of one artifact, from a slow server.
const unpackTime = 30 * time.Minute

// Fill implements artifact.Stock. What was compiled has to be what is locked; everything has to be what the manifest says.
func (b *Bundle) Fill(ctx context.Context, key, dir string, root bool) error {
	m, err := b.open(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(m.Artifacts, func(a Artifact) bool { return a.Key == key })
	if i < 0 || m.Artifacts[i].Root != root {
		return b.refused(fmt.Errorf("it has no %s", key))
	}
	a := m.Artifacts[i]
	err = b.unpack(ctx, a, dir)
	if err == nil && !root {
		err = b.locked(nameOf(key), dir)
	}
	if err != nil && ctx.Err() == nil {
		err = b.refused(err)
	}
	return err
}

func (b *Bundle) unpack(ctx context.Context, a Artifact, dir string) error {
	section, err := b.source.section(ctx, b.start+a.Offset, a.Size)
	if err != nil {
		return err
	}
	defer section.Close()
	sum := sha256.New()
	counted := &counter{ctx: ctx, total: int(a.Size / 1e6), r: io.TeeReader(section, sum)}
	z, err := zstd.NewReader(counted)
	if err != nil {
		return err
	}
	defer z.Close()
	// A frame has no end of the tar's; tar takes the end of its input for it.
	args := []string{"tar", "-x", "-p", "-f", "-", "-C", dir, "--strip-components=1"}
	if a.Root {
		args = append(args, "--numeric-owner", "--xattrs", "--xattrs-include=*")
	}
	_, err = b.Run.Run(ctx, command.Cmd{Args: args, Stdin: z, Root: a.Root, Timeout: unpackTime})
	if _, rest := io.Copy(io.Discard, counted); rest != nil {
		return rest
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != a.SHA256 {
		return fmt.Errorf("its %s has been changed, or is cut off (SHA-256 %s, not %s); fetch it again", a.Key, got, a.SHA256)
	}
	return err
}

// locked compares what was compiled with components/artifacts.lock.
func (b *Bundle) locked(component, dir string) error {
	prefix := b.Arch + "/" + component + "/"
	for name, want := range b.Locked {
		program, ours := strings.CutPrefix(name, prefix)
		if !ours {
			continue
		}
		got, err := artifact.Sum(filepath.Join(dir, program))
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("its %s/%s isn't what %s says (SHA-256 %s, not %s)", component, program, artifact.LockFile, got, want)
		}
	}
	return nil
}

// counter reports how many megabytes have been read.
type counter struct {
	ctx   context.Context
	r     io.Reader
	n     int
	total int
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if before := c.n / 1e6; (c.n+n)/1e6 > before {
		progress.Report(c.ctx, progress.Count{Done: (c.n + n) / 1e6, Total: c.total, What: "MB"})
	}
	c.n += n
	return n, err
}

var _ artifact.Stock = (*Bundle)(nil)

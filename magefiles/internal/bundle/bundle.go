package bundle

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/fetch"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// Variable names a bundle: a file, a directory with one, or a URL of either.
const Variable = "LAB_BUNDLE"

// Release has the bundles of the project's newest release, where nobody names others; "" while there is none, and then everything is compiled.
const Release = ""

// None is what Variable says to have everything compiled all the same.
const None = "none"

// Bundle is an artifact.Stock: it is opened when the first artifact is asked for.
type Bundle struct {
	Named string // a file, a directory with one, or a URL of either
	By    string // what says so, for a person
	// Unasked says that nobody named it: where it can't be used, it is passed over, and Notice says so. A part that was damaged is an error all the
	// same.
	Unasked bool
	Notice  func(format string, args ...any)
	Arch    string            // GOARCH of the machines
	Locked  map[string]string // SHA-256 of what is compiled or fetched; see artifact.ReadLock
	Pins    map[string]string // releases that have to be the bundle's, too, by name
	Run     *command.Runner

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
	if b.opened {
		return b.manifest, b.err
	}
	b.source, b.where = find(b.Named, b.Arch)
	m, start, err := read(ctx, b.source)
	if err == nil {
		err = b.fits(ctx, m, start)
	}
	switch {
	case err == nil:
	case b.Unasked && ctx.Err() == nil:
		b.Notice("the bundle %s isn't used: %v; what is missing is made here", b.where, err)
		m, err = Manifest{}, nil
	default:
		m, err = Manifest{}, b.refused(err)
	}
	b.manifest, b.start, b.err = m, start, err
	b.opened = err == nil || ctx.Err() == nil
	return m, err
}

// fits refuses a bundle for others, and one that is cut off, before anything of it is used.
func (b *Bundle) fits(ctx context.Context, m Manifest, start int64) error {
	if m.Arch != b.Arch {
		return fmt.Errorf("it is for %s, and the machines are %s; take %s", m.Arch, b.Arch, Name(b.Arch))
	}
	var other []string
	for _, name := range slices.Sorted(maps.Keys(b.Pins)) {
		if m.Pins[name] != b.Pins[name] {
			other = append(other, fmt.Sprintf("%s %s, here %s", name, cmp.Or(m.Pins[name], "none"), b.Pins[name]))
		}
	}
	if len(other) > 0 {
		return fmt.Errorf("it is of commit %s and has other releases (%s); take one that was made by yours", cmp.Or(m.Commit, "unknown"), strings.Join(other, "; "))
	}
	end := start
	for _, a := range m.Artifacts {
		end = max(end, start+a.Offset+a.Size)
	}
	_, err := part(ctx, b.source, end-1, 1)
	return err
}

func (b *Bundle) refused(err error) error {
	return fmt.Errorf("the bundle %s (%s) can't be used: %w; without it everything is fetched and compiled: %s=%s", b.where, b.By, err, Variable, None)
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
		err = fetch.ErrEnds
	}
	return data, err
}

// Has implements artifact.Stock. What was made in another way than here the bundle doesn't have.
func (b *Bundle) Has(ctx context.Context, key string, root bool) (bool, error) {
	m, err := b.open(ctx)
	return slices.ContainsFunc(m.Artifacts, func(a Artifact) bool { return a.Key == key && a.Root == root }), err
}

// nameOf is what a key begins with: what the artifact is.
func nameOf(key string) string { return key[:max(0, strings.LastIndex(key, "-"))] }

// unpackTime bounds the taking of one artifact, from a slow server.
const unpackTime = 30 * time.Minute

// Fill implements artifact.Stock. Everything has to be what the manifest says, and what is compiled or fetched what is locked.
func (b *Bundle) Fill(ctx context.Context, key, dir string, root bool) error {
	a, err := b.artifact(ctx, key, root)
	if err != nil {
		return err
	}
	if err := b.unpack(ctx, a, dir); err != nil {
		return err
	}
	if name := nameOf(key); !root && !ofDebian(name) {
		if err := b.locked(name, dir); err != nil {
			return b.refused(err)
		}
	}
	return nil
}

func (b *Bundle) artifact(ctx context.Context, key string, root bool) (Artifact, error) {
	m, err := b.open(ctx)
	if err != nil {
		return Artifact{}, err
	}
	i := slices.IndexFunc(m.Artifacts, func(a Artifact) bool { return a.Key == key && a.Root == root })
	if i < 0 {
		return Artifact{}, b.refused(fmt.Errorf("it has no %s", key))
	}
	return m.Artifacts[i], nil
}

// ofDebian says of the name of an artifact that it isn't the same wherever it is made, and so isn't locked: Debian's packages of the day.
func ofDebian(name string) bool { return name == "base" || strings.HasPrefix(name, "box-") }

func (b *Bundle) unpack(ctx context.Context, a Artifact, dir string) error {
	// A frame has no end of the tar's; tar takes the end of its input for it.
	args := []string{"tar", "-x", "-p", "-f", "-", "-C", dir, "--strip-components=1"}
	if a.Root {
		args = append(args, "--numeric-owner", "--xattrs", "--xattrs-include=*")
	}
	return b.decode(ctx, a, func(r io.Reader) error {
		_, err := b.Run.Run(ctx, command.Cmd{Args: args, Stdin: r, Root: a.Root, Timeout: unpackTime})
		return err
	})
}

// Tar implements artifact.Stock.
func (b *Bundle) Tar(ctx context.Context, key, below string, root bool, out io.Writer) error {
	a, err := b.artifact(ctx, key, root)
	if err != nil {
		return err
	}
	t := tar.NewWriter(out)
	err = b.decode(ctx, a, func(r io.Reader) error {
		return rename(t, tar.NewReader(r), func(name string) (string, bool) { return strings.CutPrefix(name, key+"/"+below+"/") })
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// decode reads the tar that an artifact is. After an error it was not what the manifest says, or take's was.
func (b *Bundle) decode(ctx context.Context, a Artifact, take func(io.Reader) error) error {
	section, err := b.source.section(ctx, b.start+a.Offset, a.Size)
	if err != nil {
		return b.refused(err)
	}
	defer section.Close()
	sum := sha256.New()
	counted := progress.Megabytes(ctx, io.TeeReader(section, sum), a.Size)
	z, err := zstd.NewReader(counted, zstd.WithDecoderConcurrency(1)) // and so it reads when it is read from, and not beside
	if err != nil {
		return err
	}
	defer z.Close()
	var bad error // what the decoder, or where it reads from, says
	terr := command.Pipe(func(w io.Writer) error {
		_, err := io.Copy(w, z)
		if !errors.Is(err, io.ErrClosedPipe) {
			bad = err
		}
		return err
	}, take)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bad == nil && terr != nil: // take's own, such as a full disk
		return terr
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return b.refused(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != a.SHA256 {
		return b.refused(fmt.Errorf("its %s has been changed, or is cut off (SHA-256 %s, not %s); fetch it again", a.Key, got, a.SHA256))
	}
	if bad != nil {
		return b.refused(bad)
	}
	return nil
}

// locked compares an artifact's files, all of them, with components/artifacts.lock.
func (b *Bundle) locked(component, dir string) error {
	want := map[string]string{}
	for name, sum := range b.Locked {
		if program, ours := strings.CutPrefix(name, b.Arch+"/"+component+"/"); ours {
			want[program] = sum
		}
	}
	got, err := artifact.Hash(dir)
	if err != nil {
		return err
	}
	said, err := artifact.Sums(dir)
	if err != nil {
		return err
	}
	for name := range want {
		if got[name] != want[name] {
			return fmt.Errorf("its %s/%s isn't what %s says (SHA-256 %s, not %s)", component, name, artifact.LockFile, cmp.Or(got[name], "none"), want[name])
		}
	}
	if len(want) == 0 || len(got) != len(want) || !maps.Equal(got, said) {
		return fmt.Errorf("its %s has other files than %s says", component, artifact.LockFile)
	}
	return nil
}

var _ artifact.Stock = (*Bundle)(nil)

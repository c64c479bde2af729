package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// Content is an artifact that is to be in a bundle.
type Content struct {
	Dir  string // a store's directory of it
	Root bool
}

// packTime bounds the packing of one artifact.
const packTime = 15 * time.Minute

// GNU tar's exit status for what changed while it was read, which a hard link to it does too, and how often it is read then.
const (
	tarDiffers = 1
	packTries  = 3
)

// Sources are where the licences of what is in a bundle are.
type Sources struct {
	Modules string // the go command's cache of modules
	Go      string // its own directory
}

// Write writes a bundle of contents into a file, whole or not at all, with the licences and a list of the software in it. project is a
// directory that is in it by its name, for people; the lab doesn't look at it.
func Write(ctx context.Context, run *command.Runner, path string, m Manifest, contents []Content, project string, from Sources) (err error) {
	m.Version, m.Made = version, time.Now().UTC().Format(time.RFC3339)
	inside := newParts()
	frames, err := os.CreateTemp(filepath.Dir(path), ".bundle-*.part")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frames.Close(), os.Remove(frames.Name())) }()
	one := progress.Counter(ctx, len(contents), "artifacts")
	at := int64(0)
	for _, c := range contents {
		a := Artifact{Key: filepath.Base(c.Dir), Root: c.Root, Offset: at}
		var err error
		if a.SHA256, err = add(ctx, run, c, a.Key, frames, at); err == nil {
			err = inside.of(c.Dir)
		}
		if err != nil {
			return fmt.Errorf("packing %s: %w", a.Key, err)
		}
		if at, err = frames.Seek(0, io.SeekCurrent); err != nil {
			return err
		}
		a.Size = at - a.Offset
		m.Artifacts = append(m.Artifacts, a)
		one()
	}
	_, err = add(ctx, run, Content{Dir: project}, filepath.Base(project), frames, at)
	if err := errors.Join(err, inside.of(project)); err != nil {
		return fmt.Errorf("packing %s: %w", filepath.Base(project), err)
	}
	more, err := inside.licences(from)
	if err != nil {
		return err
	}
	if more["sbom.spdx.json"], err = inside.spdx(m); err != nil {
		return err
	}
	if err := frame(frames, func(t *tar.Writer) error { return errors.Join(files(t, more), t.Close()) }); err != nil { // the tar's end
		return err
	}
	encoded, err := m.encode()
	if err != nil {
		return err
	}
	if _, err := frames.Seek(0, io.SeekStart); err != nil {
		return err
	}
	whole, err := os.CreateTemp(filepath.Dir(path), ".bundle-*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(whole.Name()))
		}
	}()
	_, err = io.Copy(whole, io.MultiReader(bytes.NewReader(head(int64(len(encoded)))), bytes.NewReader(encoded), frames))
	if err := errors.Join(err, whole.Chmod(0o644), whole.Close()); err != nil {
		return err
	}
	return os.Rename(whole.Name(), path)
}

// add writes an artifact's frame into a file, from at on, and returns the frame's SHA-256.
func add(ctx context.Context, run *command.Runner, c Content, key string, to *os.File, at int64) (string, error) {
	var failed *command.Error
	for range packTries {
		sum := sha256.New()
		err := pack(ctx, run, c, key, io.MultiWriter(to, sum))
		if !errors.As(err, &failed) || failed.Status != tarDiffers {
			return hex.EncodeToString(sum.Sum(nil)), err
		}
		_, serr := to.Seek(at, io.SeekStart)
		if err := errors.Join(serr, to.Truncate(at)); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%w\n  what to do: end what changes this directory, and run the same command again", failed)
}

// pack writes an artifact's frame.
func pack(ctx context.Context, run *command.Runner, c Content, key string, out io.Writer) error {
	return command.Pipe(func(w io.Writer) error {
		args := []string{"tar", "-c", "-f", "-", "-C", c.Dir, "--sort=name", "--numeric-owner"}
		if c.Root {
			args = append(args, "--xattrs", "--xattrs-include=*")
		} else { // whoever unpacks it owns it
			args = append(args, "--owner=0", "--group=0")
		}
		_, err := run.Run(ctx, command.Cmd{Args: append(args, "."), Stdout: w, Root: c.Root, Timeout: packTime})
		return err
	}, func(r io.Reader) error {
		err := frame(out, func(t *tar.Writer) error {
			return rename(t, tar.NewReader(r), func(name string) (string, bool) { return key + "/" + strings.TrimPrefix(name, "./"), true })
		})
		if err == nil { // behind the archive's end tar writes on, up to a multiple of its record's size
			_, err = io.Copy(io.Discard, r)
		}
		return err
	})
}

// rename copies the entries of a tar under other names, and leaves out those that have none.
func rename(out *tar.Writer, in *tar.Reader, other func(name string) (string, bool)) error {
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := other(h.Name)
		if !ok || name == "" {
			continue
		}
		h.Name, h.Format = name, tar.FormatPAX
		if h.Typeflag == tar.TypeLink {
			h.Linkname, _ = other(h.Linkname)
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
}

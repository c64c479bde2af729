package artifact

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/computer"
	"github.com/calico-cni-lab/lab/magefiles/internal/fetch"
	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// PublishedFile has, below the project's root, the SHA-256 of what other projects publish with their releases: of files by URL, of an
// image's manifest by its name.
const PublishedFile = "components/published.lock"

// NotPublished stands there in place of a SHA-256 that nobody here knows.
const NotPublished = "compile"

// ReleasesVariable names a server that has the files of github.com under the same paths.
const ReleasesVariable = "LAB_RELEASES"

const (
	github       = "https://github.com"
	downloadTime = 15 * time.Minute // for some 200 MB
)

// CalicoctlURL is the address of the published calicoctl.
func (m *Maker) CalicoctlURL() string {
	return fmt.Sprintf("%s/projectcalico/calico/releases/download/v%s/calicoctl-linux-%s", github, m.Pins.Calico, m.Arch)
}

// PluginsURL is the address of the published reference plugins.
func (m *Maker) PluginsURL() string {
	return fmt.Sprintf("%s/containernetworking/plugins/releases/download/v%s/cni-plugins-linux-%s-v%[2]s.tgz", github, m.Pins.Plugins, m.Arch)
}

// EtcdURL is the address of the published etcd and etcdctl.
func (m *Maker) EtcdURL() string {
	return fmt.Sprintf("%s/etcd-io/etcd/releases/download/v%s/etcd-v%[2]s-linux-%s.tar.gz", github, m.Pins.Etcd, m.Arch)
}

// PublishedNames are what PublishedFile has a line for each of: for both architectures, in an order that is the same for all pins.
func PublishedNames(pins Pins) []string {
	var names []string
	for _, arch := range []string{"amd64", "arm64"} {
		m := &Maker{Pins: pins, Arch: arch}
		names = append(names, m.CalicoctlURL(), m.PluginsURL(), m.EtcdURL())
	}
	return append(names, (&Maker{Pins: pins}).NodeImage())
}

// publishedSum is the SHA-256 that PublishedFile has of something; "" where it is to be made here.
func (m *Maker) publishedSum(name string) (string, error) {
	if !m.Published {
		return "", nil
	}
	data, err := os.ReadFile(filepath.Join(m.Root, PublishedFile))
	if err != nil {
		return "", err
	}
	switch sum := parseSums(string(data))[name]; sum {
	case "":
		return "", fmt.Errorf("%s has no SHA-256 of %s; add the one that its project publishes or, to have it compiled, the word %s in its place", PublishedFile, name, NotPublished)
	case NotPublished:
		return "", nil
	default:
		if !isSHA256.MatchString(sum) {
			return "", fmt.Errorf("%s: the SHA-256 of %s is %q, and not 64 of the digits 0-9 and a-f; take it from its project, without sha256: before it", PublishedFile, name, sum)
		}
		return sum, nil
	}
}

// CheckPublished returns all that is wrong with PublishedFile and with the names of servers, before anything is fetched.
func (m *Maker) CheckPublished() error {
	if !m.Published {
		return nil
	}
	var errs []error
	for _, name := range []string{m.CalicoctlURL(), m.PluginsURL(), m.EtcdURL(), m.NodeImage()} {
		_, err := m.publishedSum(name)
		errs = append(errs, err)
	}
	_, err := releases()
	errs = append(errs, err)
	_, err = quayRegistry()
	return errors.Join(append(errs, err)...)
}

// releases is the server that has github.com's files.
func releases() (*url.URL, error) {
	server := cmp.Or(os.Getenv(ReleasesVariable), github)
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s isn't the URL of a server; write for example: %[1]s=http://HOST", ReleasesVariable) // it may have a password in it
	}
	return u, nil
}

var isSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// OrPublished returns what compiles and then, where the SHA-256 of a published file is known and wanted, replaces the programs that it has.
func (m *Maker) OrPublished(compile func(context.Context) (string, error), file string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		sum, err := m.publishedSum(file)
		if err != nil {
			return "", err
		}
		compiled, err := compile(ctx)
		if err != nil || sum == "" {
			return compiled, err
		}
		return m.Store.Get(ctx, Recipe{
			Name: "published", What: "fetching " + path.Base(file), Inputs: []string{filepath.Base(compiled), file, sum, "published 2"},
			Make: func(ctx context.Context, out string) error {
				fetched := filepath.Join(out, ".fetched")
				err := fetchPublished(ctx, file, sum, fetched)
				if err == nil {
					err = replace(compiled, out, fetched, file)
				}
				if err == nil {
					err = os.Remove(fetched)
				}
				if err == nil {
					err = writeSums(out)
				}
				return err
			},
		})
	}
}

// fetchPublished writes a published file, which has to be what is locked. A connection that breaks goes on where it was.
func fetchPublished(ctx context.Context, file, sum, to string) (err error) {
	server, err := releases()
	if err != nil {
		return err
	}
	from := server.JoinPath(file[len(github):])
	within, cancel := context.WithTimeoutCause(ctx, downloadTime, fmt.Errorf("gave up after %s", downloadTime))
	defer cancel()
	got, err := download(within, from.String(), to)
	var disk *os.PathError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &disk):
		return err
	case err != nil:
		return fmt.Errorf("%s: %w\n  what to do: check that it can be reached, or name a server that has it under the same path: %s=URL; or take versions.source out of lab.yaml", from.Redacted(), err, ReleasesVariable)
	case got != sum:
		return fmt.Errorf("%s has the SHA-256 %s, and %s says %s\n  what to do: look up the one that its project publishes; if it is the locked one, this server's file is wrong: name another server, %s=URL; if not, correct %[3]s",
			from.Redacted(), got, PublishedFile, sum, ReleasesVariable)
	}
	return nil
}

// download writes what a URL has into a file, and returns its SHA-256.
func download(ctx context.Context, from, to string) (sum string, err error) {
	r, err := fetch.Open(ctx, from)
	if err != nil {
		return "", err
	}
	defer r.Close()
	f, err := os.Create(to)
	if err != nil {
		return "", err
	}
	defer func() { err = closing(f, err) }()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), progress.Megabytes(ctx, r, r.Size()))
	return hex.EncodeToString(h.Sum(nil)), err
}

// replace fills out with the programs in compiled, but takes those from the fetched file that it has: a tar of such, or calicoctl itself.
func replace(compiled, out, fetched, file string) error {
	entries, err := os.ReadDir(compiled)
	if err != nil {
		return err
	}
	own := map[string]string{} // by the name that they are published under
	for _, e := range entries {
		switch name := e.Name(); name {
		case sumsFile:
		case etcdServer:
			own["etcd"] = name
		default:
			own[name] = name
		}
	}
	if ext := path.Ext(file); ext == ".tgz" || ext == ".gz" {
		err = untar(fetched, out, own)
		var disk *os.PathError
		if err != nil && !errors.As(err, &disk) {
			err = fmt.Errorf("%s: %w\n  what to do: write %s in place of its SHA-256 in %s, and it is compiled", file, err, NotPublished, PublishedFile)
		}
	} else {
		err = copyProgram(filepath.Join(out, "calicoctl"), fetched)
	}
	if err != nil {
		return err
	}
	for _, name := range own {
		if to := filepath.Join(out, name); !computer.Exists(to) {
			if err := copyProgram(to, filepath.Join(compiled, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// untar unpacks programs of a tar, by their names in there. None is an error.
func untar(file, out string, programs map[string]string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	unpacked := 0
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) && unpacked == 0 {
			return errors.New("there is none of the lab's programs in it")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := programs[path.Base(h.Name)]
		if h.Typeflag != tar.TypeReg || name == "" {
			continue
		}
		if err := writeProgram(filepath.Join(out, name), t); err != nil {
			return err
		}
		unpacked++
	}
}

// copyProgram copies rather than links: a link changes its file's inode, which tar takes for a change while a bundle is packed.
func copyProgram(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeProgram(to, f)
}

func writeProgram(to string, from io.Reader) (err error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = closing(f, err) }()
	_, err = io.Copy(f, from)
	return err
}

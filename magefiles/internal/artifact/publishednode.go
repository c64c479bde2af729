package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/calico-cni-lab/lab/magefiles/internal/progress"
)

// RegistryVariable names a registry, HOST[:PORT], that has quay.io's images under the same names.
const RegistryVariable = "LAB_REGISTRY"

const (
	quay           = "quay.io"
	nodeRepository = "calico/node"
	publishedTar   = "published.tar" // the file in publishedNode's directory
)

// NodeImage is the name of calico-node's published image, which has it for each architecture.
func (m *Maker) NodeImage() string {
	return fmt.Sprintf("%s/%s:v%s", quay, nodeRepository, m.Pins.Calico)
}

// publishedNode is a directory with calico-node's published image for the machines' architecture; "" where it is to be made here. It is
// fetched by the digest in PublishedFile, with which everything is compared that comes.
func (m *Maker) publishedNode(ctx context.Context) (string, error) {
	sum, err := m.publishedSum(m.NodeImage())
	if err != nil || sum == "" {
		return "", err
	}
	return m.Store.Get(ctx, Recipe{
		Name: "published-node", What: "fetching " + m.NodeImage(), Inputs: []string{sum, m.Arch, "published node 1"},
		Make: func(ctx context.Context, out string) error {
			if err := m.fetchNode(ctx, sum, filepath.Join(out, publishedTar)); err != nil {
				return err
			}
			return writeSums(out)
		},
	})
}

// quayRegistry is the one that has quay.io's images.
func quayRegistry() (name.Registry, error) {
	host := cmp.Or(os.Getenv(RegistryVariable), quay)
	r, err := name.NewRegistry(host, name.StrictValidation)
	if err != nil {
		err = fmt.Errorf("%s=%s: name it as HOST or HOST:PORT, without http://", RegistryVariable, host)
	}
	return r, err
}

func (m *Maker) fetchNode(ctx context.Context, sum, to string) error {
	from, err := quayRegistry()
	if err != nil {
		return err
	}
	ref := from.Repo(nodeRepository).Digest("sha256:" + sum)
	within, cancel := context.WithTimeoutCause(ctx, downloadTime, fmt.Errorf("gave up after %s", downloadTime))
	defer cancel()
	img, err := m.find(within, ref)
	if err == nil {
		err = save(within, ref, img, to)
	}
	var disk *os.PathError
	var other *otherImageError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil || errors.As(err, &disk):
		return err
	case errors.As(err, &other):
		return fmt.Errorf("%s: %w\n  what to do: put the digest there that the index of all architectures has (docker buildx imagetools inspect %s)",
			PublishedFile, err, m.NodeImage())
	case within.Err() != nil:
		err = context.Cause(within)
	}
	return fmt.Errorf("%s: %w\n  what to do: check that it can be reached, or name a registry that has it under the same name: %s=HOST:PORT; or, to have it compiled, write %s in place of its SHA-256 in %s",
		ref, err, RegistryVariable, NotPublished, PublishedFile)
}

// otherImageError is that a digest isn't one of calico-node's image for the machines.
type otherImageError struct{ text string }

// Error implements error.
func (e *otherImageError) Error() string { return e.text }

// find returns the image for the machines' architecture.
func (m *Maker) find(ctx context.Context, ref name.Digest) (v1.Image, error) {
	platform := v1.Platform{OS: "linux", Architecture: m.Arch}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithPlatform(platform), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil, &otherImageError{fmt.Sprintf("%s has no %s@%s", ref.RegistryStr(), ref.RepositoryStr(), ref.DigestStr())}
	}
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	if is := cf.Platform(); is == nil || !is.Satisfies(platform) {
		return nil, &otherImageError{fmt.Sprintf("%s is for %s, and the machines are %s", ref, is, platform)}
	}
	return img, nil
}

// save writes an image into an archive, while it is fetched.
func save(ctx context.Context, ref name.Reference, img v1.Image, to string) (err error) {
	size, err := tarball.CalculateSize(map[name.Reference]v1.Image{ref: img})
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = closing(f, err) }()
	return tarball.Write(ref, img, io.MultiWriter(f, progress.Written(ctx, size)))
}

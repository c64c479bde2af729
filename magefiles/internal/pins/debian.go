package pins

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/hashicorp/go-version"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
)

// debianImage is the pin of the image that Docker containers are made from. Its releases are days.
func (b Book) debianImage() (Pin, error) {
	image, err := artifact.ReadDebianImage(b.Root)
	if err != nil {
		return Pin{}, err
	}
	return Pin{Name: "debian-image", Have: image.Date, releases: days(image), change: b.changeDebianImage(image)}, nil
}

// days lists the days on which a release's image was published, by the registry's tags.
func days(image artifact.DebianImage) func(context.Context) ([]*version.Version, error) {
	return func(ctx context.Context) ([]*version.Version, error) {
		repository, err := name.NewRepository(image.Repository)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		tags, err := remote.List(repository, remote.WithContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("%s can't be reached", repository)
		}
		var all []*version.Version
		for _, tag := range tags {
			date, _, _ := strings.Cut(strings.TrimPrefix(tag, image.Release+"-"), "-")
			if _, err := time.Parse("20060102", date); err != nil || tag != image.Tag(date) {
				continue
			}
			if v, err := version.NewVersion(date); err == nil {
				all = append(all, v)
			}
		}
		return all, nil
	}
}

// changeDebianImage asks the registry for the digest of another day's image.
func (b Book) changeDebianImage(image artifact.DebianImage) func(context.Context, *version.Version) error {
	return func(ctx context.Context, v *version.Version) error {
		tag, err := name.NewTag(image.Repository + ":" + image.Tag(v.Original()))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		found, err := remote.Head(tag, remote.WithContext(ctx))
		if err != nil {
			return fmt.Errorf("the digest of %s: %w", tag, err)
		}
		other := image
		other.Date, other.Digest = v, found.Digest.String()
		return edit(filepath.Join(b.Root, artifact.DebianImageFile), func(data []byte) ([]byte, error) {
			return []byte(strings.Replace(string(data), image.String(), other.String(), 1)), nil
		})
	}
}

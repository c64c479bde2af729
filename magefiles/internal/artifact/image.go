package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sync/errgroup"
)

// Image is a container image in an archive that `docker load` reads.
type Image struct {
	Ref     string // repository:tag
	ID      string // sha256:..., which the image has as its label, see Maker.ImageLabel
	Archive string // file on this computer; images that share layers share one
}

// Images are the images of a lab.
type Images struct {
	Etcd     Image
	Node     Image // calico-node with Felix, confd and BIRD
	Workload Image
}

// List returns all of them.
func (i Images) List() []Image { return []Image{i.Etcd, i.Node, i.Workload} }

// The images are assembled here, and not called what the published ones are called.
const repository = "calico-cni-lab/"

// The archives: each machine is sent only what it runs, and the layers that images share are in one archive once.
const (
	etcdArchive = "etcd.tar"
	nodeArchive = "node.tar" // the workload's image too
)

// parts are the directories of what images are made of.
type parts struct {
	etcd, calico, node, base string
	published                string // has calico-node's image, in place of calico and node, which are "" then; or ""
}

// Images makes the container images of what is compiled, or published, and of Debian's packages.
func (m *Maker) Images(ctx context.Context) (Images, error) {
	var made parts
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { made.etcd, err = m.OrPublished(m.Etcd, m.EtcdURL())(gctx); return err })
	g.Go(func() (err error) { made.base, err = m.base(gctx); return err })
	g.Go(func() (err error) {
		if made.published, err = m.publishedNode(gctx); err != nil || made.published != "" {
			return err
		}
		if made.node, err = m.Node(gctx); err == nil {
			made.calico, err = m.Calico(gctx)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return Images{}, err
	}
	refs := Images{
		Etcd:     Image{Ref: repository + "etcd:v" + m.Pins.Etcd.String()},
		Node:     Image{Ref: repository + "node:v" + m.Pins.Calico.String()},
		Workload: Image{Ref: repository + "workload:" + m.Debian},
	}
	dir, err := m.Store.Get(ctx, Recipe{
		Name: "images",
		What: "assembling the container images",
		Inputs: []string{
			filepath.Base(made.etcd), filepath.Base(made.calico), filepath.Base(made.node), filepath.Base(made.base), filepath.Base(made.published),
			refs.Etcd.Ref, refs.Node.Ref, refs.Workload.Ref, m.ImageLabel, "images 10",
		},
		Make: func(_ context.Context, out string) error { return m.assemble(refs, made, out) },
	})
	if err != nil {
		return Images{}, err
	}
	return refs.in(dir)
}

// in fills in archive and ID from a finished directory.
func (i Images) in(dir string) (Images, error) {
	i.Etcd.Archive, i.Node.Archive, i.Workload.Archive = etcdArchive, nodeArchive, nodeArchive
	for _, img := range []*Image{&i.Etcd, &i.Node, &i.Workload} {
		id, err := os.ReadFile(filepath.Join(dir, idFile(img.Ref)))
		if err != nil {
			return Images{}, err
		}
		img.ID, img.Archive = string(id), filepath.Join(dir, img.Archive)
	}
	return i, nil
}

func idFile(ref string) string {
	return strings.NewReplacer("/", "_", ":", "_").Replace(ref) + ".id"
}

func (m *Maker) assemble(refs Images, from parts, out string) error {
	baseLayer, err := layerFromTar(filepath.Join(from.base, baseTar))
	if err != nil {
		return err
	}
	etcdLayer, err := layerFrom(
		file{to: "/usr/local/bin/etcd", from: filepath.Join(from.etcd, etcdServer), mode: 0o755},
		file{to: "/usr/local/bin/etcdctl", from: filepath.Join(from.etcd, "etcdctl"), mode: 0o755},
	)
	if err != nil {
		return err
	}
	etcd, err := m.image(v1.Config{Cmd: []string{"/usr/local/bin/etcd"}}, etcdLayer)
	if err != nil {
		return err
	}
	node, err := m.nodeImage(from, baseLayer)
	if err != nil {
		return err
	}
	workload, err := m.image(v1.Config{Cmd: []string{"sleep", "infinity"}}, baseLayer)
	if err != nil {
		return err
	}
	archives := map[string]map[name.Reference]v1.Image{etcdArchive: {}, nodeArchive: {}}
	for _, made := range []struct {
		archive string
		ref     string
		image   v1.Image
	}{{etcdArchive, refs.Etcd.Ref, etcd}, {nodeArchive, refs.Node.Ref, node}, {nodeArchive, refs.Workload.Ref, workload}} {
		ref, err := name.NewTag(made.ref)
		if err != nil {
			return err
		}
		img, id, err := m.labelled(made.image)
		if err != nil {
			return err
		}
		archives[made.archive][ref] = img
		if err := os.WriteFile(filepath.Join(out, idFile(made.ref)), []byte(id), 0o644); err != nil {
			return err
		}
	}
	for archive, images := range archives {
		if err := tarball.MultiRefWriteToFile(filepath.Join(out, archive), images); err != nil {
			return err
		}
	}
	return nil
}

// nodeImage is calico-node's image: the published one or one of the lab's own parts.
func (m *Maker) nodeImage(from parts, baseLayer v1.Layer) (v1.Image, error) {
	if from.published != "" {
		return tarball.ImageFromPath(filepath.Join(from.published, publishedTar), nil)
	}
	nodeLayer, err := layerFromTar(filepath.Join(from.node, nodeTar))
	if err != nil {
		return nil, err
	}
	calicoLayer, err := layerFrom(file{to: "/usr/bin/calico-node", from: filepath.Join(from.calico, "calico-node"), mode: 0o755})
	if err != nil {
		return nil, err
	}
	return m.image(v1.Config{Cmd: []string{"start_runit"}, Env: []string{"SVDIR=/etc/service/enabled"}}, baseLayer, nodeLayer, calicoLayer)
}

// image puts layers together. Its creation time is fixed, so that equal inputs make an equal image.
func (m *Maker) image(c v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	c.Env = append(c.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cf.Architecture, cf.OS, cf.Config, cf.Created = m.Arch, "linux", c, v1.Time{Time: time.Unix(0, 0).UTC()}
	return mutate.ConfigFile(img, cf)
}

// labelled returns an image with its ID as a label: the digest of its configuration with nothing in that label.
func (m *Maker) labelled(img v1.Image) (_ v1.Image, id string, err error) {
	if img, err = withLabel(img, m.ImageLabel, ""); err != nil {
		return nil, "", err
	}
	digest, err := img.ConfigName()
	if err != nil {
		return nil, "", err
	}
	img, err = withLabel(img, m.ImageLabel, digest.String())
	return img, digest.String(), err
}

func withLabel(img v1.Image, name, value string) (v1.Image, error) {
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	if cf.Config.Labels == nil {
		cf.Config.Labels = map[string]string{}
	}
	cf.Config.Labels[name] = value
	return mutate.ConfigFile(img, cf)
}

// file is a file of a layer.
type file struct {
	to      string
	from    string // on this computer
	content []byte // where from is ""
	link    string // target, of a symbolic link
	mode    int64
}

// layerFromTar makes a layer of a tar. The library compresses every layer in the archive with gzip; to a virtual machine
// it goes over SSH, where that saves more than it costs.
func layerFromTar(tarFile string) (v1.Layer, error) { return tarball.LayerFromFile(tarFile) }

func layerFrom(files ...file) (v1.Layer, error) {
	data, err := tarOf(files)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	return tarball.LayerFromOpener(opener)
}

func tarOf(files []file) ([]byte, error) {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	dirs := map[string]bool{"/": true}
	for _, f := range files {
		if err := addDirs(tw, dirs, path.Dir(f.to)); err != nil {
			return nil, err
		}
		data := f.content
		if f.from != "" {
			var err error
			if data, err = os.ReadFile(f.from); err != nil {
				return nil, err
			}
		}
		hdr := &tar.Header{Name: f.to[1:], Mode: f.mode, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
		if f.link != "" {
			hdr.Typeflag, hdr.Linkname, hdr.Mode = tar.TypeSymlink, f.link, 0o777
		}
		if err := tw.WriteHeader(hdr); err != nil {
			return nil, err
		}
		if _, err := tw.Write(data); err != nil {
			return nil, err
		}
	}
	err := tw.Close()
	return buf.Bytes(), err
}

// addDirs adds the directories down to dir that are not there yet. Those that the base has as links
// (/bin, /sbin on a merged /usr) must not be among them: paths here start with /usr.
func addDirs(tw *tar.Writer, have map[string]bool, dir string) error {
	if have[dir] {
		return nil
	}
	if err := addDirs(tw, have, path.Dir(dir)); err != nil {
		return err
	}
	have[dir] = true
	return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir[1:] + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
}

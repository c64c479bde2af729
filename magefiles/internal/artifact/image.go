package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
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

// The images are made here, and not called what the published ones are called.
const repository = "calico-cni-lab/"

// The archives: each machine is sent only what it runs, and the layers that images share are in one archive once.
const (
	etcdArchive = "etcd.tar"
	nodeArchive = "node.tar" // the workload's image too
)

// Images makes the container images from what is compiled and from Debian's packages.
func (m *Maker) Images(ctx context.Context) (Images, error) {
	var etcd, calico, base string
	g, gctx := errgroup.WithContext(ctx)
	for _, part := range []struct {
		dir *string
		get func(context.Context) (string, error)
	}{{&etcd, m.Etcd}, {&calico, m.Calico}, {&base, m.base}} {
		g.Go(func() (err error) { *part.dir, err = part.get(gctx); return err })
	}
	if err := g.Wait(); err != nil {
		return Images{}, err
	}
	refs := Images{
		Etcd:     Image{Ref: repository + "etcd:v" + m.Pins.Etcd.String()},
		Node:     Image{Ref: repository + "node:v" + m.Pins.Calico.String()},
		Workload: Image{Ref: repository + "workload:" + m.Debian},
	}
	dir, err := m.Store.Get(ctx, Recipe{
		Name:   "images",
		What:   "assembling the container images",
		Inputs: []string{filepath.Base(etcd), filepath.Base(calico), filepath.Base(base), refs.Etcd.Ref, refs.Node.Ref, refs.Workload.Ref, m.ImageLabel, "images 9"},
		Make: func(ctx context.Context, out string) error {
			return m.assemble(ctx, refs, etcd, calico, base, out)
		},
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

func (m *Maker) assemble(ctx context.Context, refs Images, etcd, calico, base, out string) error {
	baseLayer, err := layerFromTar(filepath.Join(base, baseTar))
	if err != nil {
		return err
	}
	etcdLayer, err := layerFrom(
		file{to: "/usr/local/bin/etcd", from: filepath.Join(etcd, "server"), mode: 0o755},
		file{to: "/usr/local/bin/etcdctl", from: filepath.Join(etcd, "etcdctl"), mode: 0o755},
	)
	if err != nil {
		return err
	}
	files, err := m.nodeFiles(ctx, calico)
	if err != nil {
		return err
	}
	nodeLayer, err := layerFrom(files...)
	if err != nil {
		return err
	}
	archives := map[string]map[name.Reference]v1.Image{etcdArchive: {}, nodeArchive: {}}
	for _, spec := range []struct {
		archive string
		ref     string
		config  v1.Config
		layers  []v1.Layer
	}{
		{etcdArchive, refs.Etcd.Ref, v1.Config{Cmd: []string{"/usr/local/bin/etcd"}}, []v1.Layer{etcdLayer}},
		{nodeArchive, refs.Node.Ref, v1.Config{Cmd: []string{"start_runit"}, Env: []string{"SVDIR=/etc/service/enabled"}}, []v1.Layer{baseLayer, nodeLayer}},
		{nodeArchive, refs.Workload.Ref, v1.Config{Cmd: []string{"sleep", "infinity"}}, []v1.Layer{baseLayer}},
	} {
		ref, err := name.NewTag(spec.ref)
		if err != nil {
			return err
		}
		img, id, err := m.image(spec.config, spec.layers)
		if err != nil {
			return err
		}
		archives[spec.archive][ref] = img
		if err := os.WriteFile(filepath.Join(out, idFile(spec.ref)), []byte(id), 0o644); err != nil {
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

// image puts layers together. Its creation time is fixed, so that equal inputs have an equal ID: the digest of the image's
// configuration with nothing in the label that is to have it.
func (m *Maker) image(c v1.Config, layers []v1.Layer) (img v1.Image, id string, err error) {
	if img, err = mutate.AppendLayers(empty.Image, layers...); err != nil {
		return nil, "", err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, "", err
	}
	cf = cf.DeepCopy()
	c.Env = append(c.Env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	c.Labels = map[string]string{m.ImageLabel: ""}
	cf.Architecture, cf.OS, cf.Config, cf.Created = m.Arch, "linux", c, v1.Time{Time: time.Unix(0, 0).UTC()}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return nil, "", err
	}
	digest, err := img.ConfigName()
	if err != nil {
		return nil, "", err
	}
	cf = cf.DeepCopy()
	cf.Config.Labels = map[string]string{m.ImageLabel: digest.String()}
	img, err = mutate.ConfigFile(img, cf)
	return img, digest.String(), err
}

// nodeFiles are the files of calico-node's image, where Calico's own Dockerfile puts them
// (node/Dockerfile.amd64 in the calico module).
func (m *Maker) nodeFiles(ctx context.Context, calico string) ([]file, error) {
	src, err := m.moduleDir(ctx, "calico", calicoModule)
	if err != nil {
		return nil, err
	}
	files := []file{
		{to: "/usr/bin/calico-node", from: filepath.Join(calico, "calico-node"), mode: 0o755},
		// Debian has birdc, the client with line editing; what is written about Calico says birdcl.
		{to: "/usr/bin/birdcl", link: "/usr/sbin/birdc"},
	}
	seen := map[string]bool{} // the trees overlap in an empty file, and a layer may name a path only once
	for _, tree := range []struct{ from, to string }{
		{"node/filesystem/etc", "/etc"},
		{"node/filesystem/sbin", "/usr/sbin"},
		{"confd/etc/calico", "/etc/calico"},
	} {
		fsys := os.DirFS(filepath.Join(src, tree.from))
		err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			to := path.Join(tree.to, p)
			if seen[to] {
				return nil
			}
			seen[to] = true
			data, err := fs.ReadFile(fsys, p)
			if err != nil {
				return err
			}
			f := file{to: to, content: data, mode: 0o644}
			if path.Base(p) == "run" || path.Base(p) == "rc.local" || tree.to == "/usr/sbin" {
				f.mode = 0o755
			}
			if edit := edits[to]; edit != nil {
				if f.content = edit(data); bytes.Equal(f.content, data) {
					return fmt.Errorf("%s is not as it was when the lab's change to it was written; see edits.go in package artifact", p)
				}
			}
			files = append(files, f)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
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
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil }
	return tarball.LayerFromOpener(opener)
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

package artifact

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// nodeTar is the file in Node's directory.
const nodeTar = "node.tar"

// Node is a directory with what is in calico-node's image beside programs: scripts, and templates of configurations, as the lab has them.
func (m *Maker) Node(ctx context.Context) (string, error) {
	pins, err := os.ReadFile(filepath.Join(m.Root, "components/calico/go.mod"))
	if err != nil {
		return "", err
	}
	return m.Store.Get(ctx, Recipe{
		Name: "node", What: "gathering calico-node's files", Inputs: []string{string(pins), "node 1"},
		Make: func(ctx context.Context, out string) error {
			src, err := m.moduleDir(ctx, "calico", calicoModule)
			if err != nil {
				return err
			}
			files, err := nodeFiles(src)
			if err != nil {
				return err
			}
			data, err := tarOf(files)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(out, nodeTar), data, 0o644); err != nil {
				return err
			}
			return writeSums(out)
		},
	})
}

// nodeFiles are the files of calico-node's image, where Calico's own Dockerfile puts them (node/Dockerfile.amd64 in the calico module,
// which is in src).
func nodeFiles(src string) ([]file, error) {
	files := []file{
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

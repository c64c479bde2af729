package artifact

import (
	"archive/tar"
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// buildTimeout bounds one download or compile: cold, on a slow computer.
const buildTimeout = 45 * time.Minute

// ToolchainTar is the file in Toolchain's directory.
const ToolchainTar = "go.tar"

// toolchainCount is the file beside it that says how many files are in the tar.
const toolchainCount = "files"

// ToolchainFiles returns how many files are in the toolchain in Toolchain's directory.
func ToolchainFiles(dir string) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, toolchainCount))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(data))
}

// Toolchain is a directory with go.tar: the Go toolchain for the machines as a tree go/. It comes as a module,
// golang.org/toolchain, whose hash the go command verifies like any other's (https://go.dev/doc/toolchain).
func (m *Maker) Toolchain(ctx context.Context) (string, error) {
	module := "golang.org/toolchain@v0.0.1-go" + m.GoOnNode + ".linux-" + m.Arch
	return m.Store.Get(ctx, Recipe{
		Name:   "go",
		What:   "fetching Go " + m.GoOnNode + " for the machines",
		Inputs: []string{module, "tar 2"},
		Make: func(ctx context.Context, out string) error {
			text, err := m.fetch(ctx, command.Cmd{
				Args: []string{"go", "mod", "download", "-json", module}, Dir: os.TempDir(), Env: []string{"GOFLAGS=", "GOWORK=off"},
				Timeout: buildTimeout, Hint: "check versions.go in lab.yaml: is there such a release, and can the module proxy be reached?",
			}, module)
			if err != nil {
				return err
			}
			var info struct{ Zip string }
			if err := json.Unmarshal([]byte(text), &info); err != nil {
				return fmt.Errorf("go mod download -json %s: %w", module, err)
			}
			files, err := repack(info.Zip, module+"/", filepath.Join(out, ToolchainTar))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(out, toolchainCount), []byte(strconv.Itoa(files)), 0o644); err != nil {
				return err
			}
			return writeSums(out)
		},
	})
}

// repack writes a module zip's files as a tar of the tree go/. A module zip has no modes: what can be executed
// is known by where it lies, as cmd/go does it for toolchains.
func repack(zipFile, prefix, tarFile string) (files int, err error) {
	z, err := zip.OpenReader(zipFile)
	if err != nil {
		return 0, err
	}
	defer z.Close()
	f, err := os.Create(tarFile)
	if err != nil {
		return 0, err
	}
	defer func() { err = closing(f, err) }()
	tw := tar.NewWriter(f)
	for _, entry := range z.File {
		name, ok := strings.CutPrefix(entry.Name, prefix)
		if !ok {
			return 0, fmt.Errorf("%s: unexpected entry %s", zipFile, entry.Name)
		}
		mode := int64(0o644)
		if strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "pkg/tool/") {
			mode = 0o755
		}
		hdr := &tar.Header{Name: "go/" + name, Mode: mode, Size: int64(entry.UncompressedSize64), ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(hdr); err != nil {
			return 0, err
		}
		r, err := entry.Open()
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(tw, r)
		r.Close()
		if err != nil {
			return 0, err
		}
		files++
	}
	return files, tw.Close()
}

// closing closes what was written to and keeps the first error.
func closing(c io.Closer, err error) error {
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

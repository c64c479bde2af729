package artifact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzPinned: the release that a go.mod pins is in it, or the error says which file.
func FuzzPinned(f *testing.F) {
	for _, name := range []string{"calico", "etcd", "cni"} {
		data, err := os.ReadFile(filepath.Join("../../../components", name, "go.mod"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{"", "require " + calicoModule + " v0.0.0-20251021213802-b1f3c43f8437 // v3.31.0", "require " + calicoModule + " v1.0.0 // vnone", "require " + calicoModule + " v1.0.0 // indirect; v3.31.0"} {
		f.Add([]byte(s))
	}
	file := filepath.Join(f.TempDir(), "go.mod")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, module := range []string{calicoModule, etcdModule, cniModule} {
			v, err := pinned(file, module)
			if err != nil && !strings.Contains(err.Error(), file) {
				t.Errorf("%v doesn't name %s", err, file)
			}
			if err == nil && !strings.Contains(string(data), v.Original()) {
				t.Errorf("%s of %s", v, module)
			}
		}
	})
}

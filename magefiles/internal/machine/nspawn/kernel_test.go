package nspawn

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKernel: what is loaded, built in or neither, on kernels that describe themselves in different ways.
func TestKernel(t *testing.T) {
	var loaded, builtin, config string
	for _, f := range features {
		loaded += f.module + " 16384 0 - Live 0x0000000000000000\n"
		builtin += "kernel/net/" + strings.ReplaceAll(f.module, "_", "-") + ".ko\n"
		config += "CONFIG_" + f.option + "=y\n"
	}
	without := func(text, line string) string { return strings.Replace(text, line, "", 1) }
	for _, c := range []struct {
		name    string
		files   map[string]string
		lacks   []string
		refused bool
	}{
		{"all loaded", map[string]string{"proc/modules": loaded}, nil, false},
		{"all built in, by the list", map[string]string{"lib/modules/6.1/modules.builtin": builtin}, nil, false},
		{"all built in, by /boot", map[string]string{"boot/config-6.1": config}, nil, false},
		{"all built in, by /proc", map[string]string{"proc/config.gz": config}, nil, false},
		{"a module, not loaded", map[string]string{"proc/config.gz": strings.Replace(config, "CONFIG_IP_SET=y", "CONFIG_IP_SET=m", 1)}, []string{"ip_set"}, true},
		{"not there", map[string]string{"proc/config.gz": without(config, "CONFIG_VETH=y\n"), "proc/modules": "nf_tables 1 0\n"}, []string{"veth"}, true},
		{"loaded but for one, not described", map[string]string{"proc/modules": without(loaded, loaded[:strings.Index(loaded, "\n")+1])}, []string{"overlay"}, false},
		{"another kernel's list", map[string]string{"lib/modules/5.0/modules.builtin": builtin, "proc/modules": loaded}, nil, false},
	} {
		root := t.TempDir()
		c.files["proc/sys/kernel/osrelease"] = "6.1\n"
		for name, content := range c.files {
			if strings.HasSuffix(name, ".gz") {
				var b bytes.Buffer
				w := gzip.NewWriter(&b)
				if _, err := w.Write([]byte(content)); err != nil || w.Close() != nil {
					t.Fatal(err)
				}
				content = b.String()
			}
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		k := readKernel(root)
		if got := k.lacks(features); !slices.Equal(got, c.lacks) {
			t.Errorf("%s: lacks %v, not %v", c.name, got, c.lacks)
		}
		// What modprobe can't load is refused where it is certain that it isn't built in either.
		if err := k.verdict(features); (err != nil) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		} else if err != nil && (!strings.Contains(err.Error(), c.lacks[0]+";") || !strings.Contains(err.Error(), "6.1")) {
			t.Errorf("%s: the error doesn't say what: %v", c.name, err)
		}
	}
}

//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBundle: a computer that has neither a network nor a cache brings up the lab from a bundle, and tries to send nothing.
func TestBundle(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	if os.Geteuid() != 0 {
		t.Skip("it hides root's cache, and so has to be run by root")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	dir := t.TempDir()
	file := filepath.Join(dir, "calico-cni-lab.tar.zst")
	l.has(l.ok("bundle", "-o="+file), "LAB_BUNDLE="+file)
	must(t, "", "bash", "-c", "cd "+dir+" && sha256sum --check calico-cni-lab.tar.zst.sha256")
	l.has(l.fails("bundle", "-o="+file), "is there already")

	// Another computer: no network but what lies in its namespace, no cache of the user's or of root's.
	away := *l
	away.env = []string{"LAB_CACHE=" + filepath.Join(dir, "cache"), "LAB_BUNDLE=" + file, "GOPROXY=off", "LAB_APT=never"}
	away.prefix = []string{"unshare", "--mount", "--propagation=private", "bash", "-c", `mkdir -p "$0" && mount --bind "$0" /var/lib/calico-cni-lab && exec "$@"`, filepath.Join(dir, "var")}
	counted := away
	counted.prefix = append([]string{"unshare", "--net", "bash", "-c", `"$@"; status=$?; grep -E '^(Ip|Tcp|Udp):' /proc/net/snmp; grep -E '^Ip6Out(Requests|NoRoutes) ' /proc/net/snmp6; exit $status`, "bash"}, away.prefix...)

	l.sub("refused", func(*lab) {
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bad := filepath.Join(dir, "bad.tar.zst")
		for want, data := range map[string][]byte{"it ends early": whole[:len(whole)/3], "it is no bundle": []byte(strings.Repeat("x", 1000))} {
			if err := os.WriteFile(bad, data, 0o644); err != nil {
				t.Fatal(err)
			}
			refused := counted
			refused.env = append(append([]string{}, away.env...), "LAB_BUNDLE="+bad)
			l.has(refused.fails("verify"), want, "unset LAB_BUNDLE")
		}
	})
	l.sub("verify", func(*lab) {
		out := counted.ok("verify")
		l.has(out, "the lab works: all ")
		for _, name := range []string{"go", "calico", "etcd", "cni", "look", "rootfs", "base", "box"} {
			l.has(out, "taking "+name+" from the bundle")
		}
		// Of each protocol a line with names and one with numbers.
		lines := regexp.MustCompile(`(?m)^(Ip|Tcp|Udp): .*$`).FindAllString(out, -1)
		for i := 0; i+1 < len(lines); i += 2 {
			values := strings.Fields(lines[i+1])
			for j, name := range strings.Fields(lines[i]) {
				switch name {
				case "OutRequests", "OutNoRoutes", "ActiveOpens", "OutSegs", "OutDatagrams":
					if values[j] != "0" {
						t.Errorf("%s %s: %s, and nothing was to be sent", values[0], name, values[j])
					}
				}
			}
		}
		for _, line := range regexp.MustCompile(`(?m)^Ip6Out\S+\s+(\d+)$`).FindAllStringSubmatch(out, -1) {
			if line[1] != "0" {
				t.Errorf("%s, and nothing was to be sent", line[0])
			}
		}
		if len(lines) != 6 {
			t.Errorf("the counters: %v", lines)
		}
		away.did(away.ok("verify"), true)
		away.ok("destroy")
		away.has(away.ok("clean"), "the cache is empty")
	})
}

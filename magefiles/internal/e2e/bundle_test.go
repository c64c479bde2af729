//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBundle: a computer that has no network, no cache and no Go brings up the lab from a bundle, and tries to send nothing.
func TestBundle(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real machines")
	}
	if os.Geteuid() != 0 {
		t.Skip("it hides root's cache, and so has to be run by root")
	}
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Skip("tar needs zstd to unpack a bundle")
	}
	t.Parallel()
	l := newLab(t, "nspawn")
	dir := t.TempDir()
	file := filepath.Join(dir, "calico-cni-lab.tar.zst")
	l.has(l.ok("bundle", "-o="+file), "LAB_BUNDLE=../calico-cni-lab.tar.zst ./lab verify")
	must(t, "", "bash", "-c", "cd "+dir+" && sha256sum --check calico-cni-lab.tar.zst.sha256")
	l.has(l.fails("bundle", "-o="+file), "is there already")
	list, err := exec.Command("tar", "-xOf", file, "sbom.spdx.json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var software struct {
		Packages []struct {
			Name         string
			Checksums    []struct{ ChecksumValue string }
			ExternalRefs []struct{ ReferenceLocator string }
		}
	}
	if err := json.Unmarshal(list, &software); err != nil {
		t.Fatal(err)
	}
	debian := 0
	for _, p := range software.Packages {
		if len(p.ExternalRefs) == 1 && strings.HasPrefix(p.ExternalRefs[0].ReferenceLocator, "pkg:deb/") {
			if debian++; len(p.Checksums) != 1 || len(p.Checksums[0].ChecksumValue) != 64 {
				t.Errorf("%s has no checksum: %v", p.ExternalRefs[0].ReferenceLocator, p.Checksums)
			}
		}
	}
	if debian < 100 {
		t.Errorf("only %d packages of Debian's", debian)
	}

	// Another computer: no network but what lies in its namespace, no cache of the user's, of root's or of the go command's, no go command where
	// this one's is, the project and its targets from the bundle.
	must(t, "", "tar", "-C", dir, "-xf", file, "calico-cni-lab")
	away := *l
	away.root = filepath.Join(dir, "calico-cni-lab")
	away.mage = filepath.Join(away.root, "lab")
	away.env = []string{
		"LAB_CACHE=" + filepath.Join(dir, "cache"), "LAB_BUNDLE=" + file, "LAB_APT=never",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "GOPROXY=off", "GOMODCACHE=" + filepath.Join(dir, "modules"), "GOCACHE=" + filepath.Join(dir, "compiled"), "GOTOOLCHAIN=local",
	}
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
			for _, target := range []string{"plan", "verify"} {
				l.has(refused.fails(target), want, "LAB_BUNDLE=none")
			}
		}
	})
	l.sub("verify", func(*lab) {
		l.has(counted.fails("plan"), "» first\n", "taking calico from the bundle", "taking base from the bundle", "there is something to do")
		out := counted.ok("verify")
		l.has(out, "the lab works: all ")
		for _, name := range []string{"go", "calico", "node", "etcd", "cni", "look", "rootfs", "base", "box"} {
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
		for _, made := range []string{"modules", "compiled"} {
			if _, err := os.Stat(filepath.Join(dir, made)); err == nil {
				t.Errorf("the go command was there, and has made %s", made)
			}
		}
		away.has(out, away.mage+" learn")
		away.did(away.ok("verify"), true)
		away.ok("destroy")
		away.has(away.ok("clean"), "the cache is empty")
	})
}

//go:build linux

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

func TestTexts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/net.d/10-a.conflist", "{}")
	write(t, dir+"/cni/results/a", "r")
	write(t, dir+"/large", strings.Repeat("x", fact.LargestText+1))
	if err := os.Symlink("10-a.conflist", dir+"/net.d/link"); err != nil {
		t.Fatal(err)
	}
	seen := texts([]string{dir + "/net.d", dir + "/cni", dir + "/large", dir + "/none"})
	got := map[string]string{}
	for p, text := range seen.Value {
		got[strings.TrimPrefix(p, dir)] = text.Mode + " " + text.Content
	}
	if diff := cmp.Diff(map[string]string{"/net.d/10-a.conflist": "644 {}", "/cni/results/a": "644 r"}, got); diff != "" || seen.Unknown != "" {
		t.Errorf("%s (-want +got):\n%s", seen.Unknown, diff)
	}
}

func TestServices(t *testing.T) {
	dir := t.TempDir()
	for name, stat := range map[string]string{"felix": "run\n", "confd": "down, normally up\n", "bird": "run, want down\n"} {
		write(t, dir+"/"+name+"/supervise/stat", stat)
	}
	if diff := cmp.Diff(map[string]string{"felix": "run", "confd": "down", "bird": "run"}, services(dir).Value); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSysctls(t *testing.T) {
	root := t.TempDir()
	if seen := sysctls(root); seen.Unknown == "" {
		t.Error("without any it is known")
	}
	write(t, root+"/net/ipv4/ip_forward", "1\n")
	write(t, root+"/net/ipv4/conf/host0/rp_filter", "2\n")
	if diff := cmp.Diff(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/host0/rp_filter": "2"}, sysctls(root).Value); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNamespaces(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/w1", "")
	if got := namespaces(dir); len(got.Value) != 1 || got.Value[0] != "w1" {
		t.Errorf("%+v", got)
	}
	if got := namespaces(dir + "/none"); got.Unknown != "" || len(got.Value) > 0 {
		t.Errorf("without a directory: %+v", got)
	}
}

// TestNodeRoot: without calico-node its files and services are unknown, and never empty.
func TestNodeRoot(t *testing.T) {
	for _, d := range []fact.Seen[fact.Docker]{fact.Known(fact.Docker{}), fact.Unknown[fact.Docker]("Docker Engine doesn't answer")} {
		if root, why := nodeRoot(d); root != "" || why == "" {
			t.Errorf("%q %q", root, why)
		}
	}
}

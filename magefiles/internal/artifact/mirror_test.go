package artifact

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
)

// target is a paragraph of what apt-get indextargets prints.
func target(uri, suite, component, origin string) string {
	text := "MetaKey: " + component + "/binary-amd64/Packages\nURI: " + uri + "dists/" + suite + "\n"
	if origin != "" {
		text += "Codename: bookworm\nOrigin: " + origin + "\n"
	}
	return text + "Component: " + component + "\nCreated-By: Packages\nRelease: " + suite + "\nRepo-URI: " + uri + "\nTarget-Of: deb\n"
}

func TestAptMirror(t *testing.T) {
	const from = "this computer's apt configuration"
	for _, c := range []struct {
		name    string
		targets []string
		want    mirror
	}{
		{"Debian's own", []string{
			target("http://a.example/debian/", "bookworm", "main", "Debian"), target("http://a.example/debian/", "bookworm-updates", "main", "Debian"),
			target("http://s.example/sec/", "bookworm-security", "main", "Debian"),
		}, mirror{"http://a.example/debian", "http://s.example/sec", from}},
		{"another release, by its place", []string{target("http://a.example/debian/", "stable", "main", "Debian")}, mirror{"http://a.example/debian", "", from}},
		{"no list fetched yet, others before", []string{
			target("cdrom:[Debian 12]/", "bookworm-updates", "main", ""), target("http://vpn.example/debian/", "bookworm", "main", ""),
			target("http://docker.example/debian/", "bookworm", "stable", ""), target("http://pg.example/", "bookworm-pgdg", "main", ""),
			target("http://a.example/debian/", "bookworm", "main", ""), target("http://a.example/debian/", "bookworm-updates", "main", ""),
		}, mirror{"http://a.example/debian", "", from}},
		{"others only", []string{target("http://vpn.example/debian/", "bookworm", "main", "Vpn"), target("http://x.example/", "bookworm-security", "main", "")}, mirror{}},
		{"none", nil, mirror{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := aptMirror(strings.Join(c.targets, "\n")); got != c.want {
				t.Errorf("%+v, not %+v", got, c.want)
			}
		})
	}
}

// TestSources: the mirror changes where packages come from and nothing else: what is kept of it has Debian's own.
func TestSources(t *testing.T) {
	t.Setenv(mirrorVariable, "http://user:pw@a.example/debian/")
	d := Debian{Release: "bookworm", Run: &command.Runner{}}
	inputs, err := d.Inputs()
	if err != nil || strings.Contains(strings.Join(inputs, ""), "a.example") {
		t.Errorf("inputs depend on the mirror: %v, %v", inputs, err)
	}
	m, err := d.findMirror(t.Context(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	const deb = "deb [signed-by=" + DebianKeyring + "] http://user:pw@a.example/debian"
	want := []string{deb + " bookworm main", deb + " bookworm-updates main", deb + "-security bookworm-security main"}
	sources, err := d.sources()
	if diff := cmp.Diff(want, m.serve(sources)); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
	root := t.TempDir()
	if err := os.MkdirAll(root+"/etc/apt", 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", ownSources(sources), "sh", root).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if kept, err := os.ReadFile(root + "/etc/apt/sources.list"); err != nil || string(kept) != strings.Join(sources, "\n")+"\n" {
		t.Errorf("the tree's: %s%v", kept, err)
	}
	if diff := cmp.Diff(sources, mirror{}.serve(sources)); diff != "" {
		t.Errorf("without a mirror (-want +got):\n%s", diff)
	}
	if m, err := namedMirror("http://a/debian http://b/sec/"); err != nil || m.security != "http://b/sec" {
		t.Errorf("two: %+v, %v", m, err)
	}
	for _, bad := range []string{"a.example", "http://a http://b http://c", "http://a b"} {
		if _, err := namedMirror(bad); err == nil || !strings.Contains(err.Error(), mirrorVariable) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestExplain: an error says what is wrong, not always that the mirror is.
func TestExplain(t *testing.T) {
	m := mirror{archive: "http://user:pw@a.example/debian", from: mirrorVariable}
	for stderr, want := range map[string]string{
		"E: The repository 'http://a.example/debian bookwurm Release' does not have a Release file.": `a.example/debian (from LAB_DEBIAN_MIRROR) has no release "bookwurm": correct versions.debian in lab.yaml`,
		"Could not connect to 127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)":          "a.example/debian (from LAB_DEBIAN_MIRROR) can be reached, or name another one: LAB_DEBIAN_MIRROR=",
		"couldn't be verified because the public key is not available: NO_PUBKEY 6ED0E7B82643E131":   "install a newer debian-archive-keyring",
		"E: Unable to locate package bird": "lacks a package",
	} {
		err := Debian{Release: "bookwurm"}.explain(&command.Error{Status: 25, Stderr: stderr}, m)
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw@") {
			t.Errorf("%s:\n%v", stderr, err)
		}
	}
	if (Debian{}).explain(nil, m) != nil {
		t.Error("no error has become one")
	}
}

// proxy is an HTTP proxy that notes what it is asked for. To it mirror.invalid is the real mirror.
type proxy struct {
	real  mirror
	mu    sync.Mutex
	asked []string
	down  bool // whether the real mirror can't be reached
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.URL.String())
	p.mu.Unlock()
	real := strings.Replace(r.URL.String(), "http://mirror.invalid/debian", p.real.archive, 1)
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, real, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.mu.Lock()
		p.down = true
		p.mu.Unlock()
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

// TestBootstrapThroughProxy: everything that a tree is made of comes by the proxy from the mirror that was named, and so does what
// apt-get fetches. A release that isn't there is called that.
func TestBootstrapThroughProxy(t *testing.T) {
	run := &command.Runner{}
	if _, err := run.Root(t.Context(), "mmdebstrap", "--version"); err != nil {
		t.Skipf("needs root and mmdebstrap: %v", err)
	}
	d := Debian{Release: "bookworm", Run: run, variant: "extract"}
	p := &proxy{}
	var err error
	if p.real, err = d.findMirror(t.Context(), func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	if p.real.archive == "" || !strings.HasPrefix(p.real.archive, "http") || p.real.security != "" && p.real.security != p.real.archive+"-security" {
		own, err := d.sources()
		if err != nil {
			t.Fatal(err)
		}
		p.real.archive = strings.Fields(own[0])[2]
	}
	// Go reads the proxies of its own environment once.
	_, _ = http.ProxyFromEnvironment(httptest.NewRequest(http.MethodGet, "http://example.com/", nil))
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	t.Setenv(mirrorVariable, "http://mirror.invalid/debian")
	t.Setenv("http_proxy", "")
	t.Setenv("HTTP_PROXY", server.URL)

	// Into a directory where nobody else may enter.
	closed := filepath.Join(t.TempDir(), "closed")
	t.Cleanup(func() {
		if _, err := run.Root(context.WithoutCancel(t.Context()), "rm", "-rf", "--", closed); err != nil {
			t.Error(err)
		}
	})
	if _, err := run.Root(t.Context(), "install", "-d", "-m", "0700", closed); err != nil {
		t.Fatal(err)
	}
	err = d.Bootstrap(t.Context(), filepath.Join(closed, "root"), nil, []string{"hostname"}, "", "")
	if p.down {
		t.Skip("the mirror can't be reached")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := run.Root(t.Context(), "test", "-x", filepath.Join(closed, "root/bin/hostname")); err != nil {
		t.Error(err)
	}
	for _, part := range []string{"debian/dists/bookworm/InRelease", "debian-security/dists/bookworm-security/InRelease", "/hostname_"} {
		if !slices.ContainsFunc(p.asked, func(url string) bool {
			return strings.HasPrefix(url, "http://mirror.invalid/") && strings.Contains(url, part)
		}) {
			t.Errorf("nobody asked the proxy for %s, only for %v", part, p.asked)
		}
	}
	d.Release = "bookwurm"
	var failed *command.Error
	err = d.Bootstrap(t.Context(), "-", io.Discard, []string{"hostname"}, "", "")
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), `has no release "bookwurm"`) {
		t.Errorf("no such release: %v", err)
	}
	if _, err := exec.LookPath("apt-get"); err == nil {
		before := len(p.asked)
		if _, err := run.Root(t.Context(), "apt-get", "-qq", "-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::lists="+t.TempDir(),
			"-o", "Dir::Etc::sourcelist="+oneSource(t), "update"); err != nil || len(p.asked) == before {
			t.Errorf("apt-get update: %v, %d requests", err, len(p.asked)-before)
		}
	}
}

func oneSource(t *testing.T) string {
	file := t.TempDir() + "/sources.list"
	if err := os.WriteFile(file, []byte("deb [signed-by="+DebianKeyring+"] http://mirror.invalid/debian bookworm-updates main\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

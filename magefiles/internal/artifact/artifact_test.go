package artifact

import (
	"archive/tar"
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestReadPins(t *testing.T) {
	p, err := ReadPins("../../..")
	if err != nil {
		t.Fatal(err)
	}
	// Calico's is a pseudo-version; its release is in the comment after it.
	if got := p.Calico.String(); got != "3.31.0" {
		t.Errorf("Calico %s", got)
	}
	if p.Etcd.Segments()[0] != 3 || p.Cnitool.Segments()[0] != 1 || p.Plugins.Segments()[0] != 1 {
		t.Errorf("pins: %v", p)
	}
	root := t.TempDir()
	file := filepath.Join(root, "components/calico/go.mod")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"module x\n": "does not require " + calicoModule,
		"module x\nrequire " + calicoModule + " v0.0.0-1 // v3.x\n": "go.mod:2",
		"nonsense": "go.mod:1",
	} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPins(root); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}

func TestWithoutTunnels(t *testing.T) {
	in := `    if defined(bgp_next_hop) then
      krt_tunnel = "";    {{- /* no */}}
    else
      krt_tunnel = "{{$data.ipip}}";
    accept;
  } {{- else}}
    krt_tunnel = "{{$data.ipip}}";
    accept;
`
	want := `    if defined(bgp_next_hop) then { }
    else { }
    accept;
  } {{- else}}
    accept;
`
	if diff := cmp.Diff(want, string(withoutTunnels([]byte(in)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutKubernetes(t *testing.T) {
	in := "a\ncp -a /etc/service/available/complete-startup /etc/service/enabled/\nb\n"
	if got := string(withoutKubernetes([]byte(in))); got != "a\nb\n" {
		t.Errorf("got %q", got)
	}
}

// TestWaitingForConfig runs Calico's script with the lab's edit: BIRD is started when its configuration is there, and a
// hangup before that changes nothing.
func TestWaitingForConfig(t *testing.T) {
	dir := t.TempDir()
	in := "#!/bin/sh\nexec 2>&1\nexec bird -R -s /run/bird.ctl -d -c " + dir + "/bird.cfg"
	if err := os.WriteFile(filepath.Join(dir, "bird"), []byte("#!/bin/sh\necho started \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", string(waitingForConfig([]byte(in))))
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ignores := regexp.MustCompile(`(?m)^Sig(Cgt|Ign):\s+[0-9a-f]+[13579bdf]$`) // SIGHUP is the lowest bit
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)); ignores.Match(status) {
			break // its trap is set
		}
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	if err := os.WriteFile(filepath.Join(dir, "bird.cfg"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || out.String() != "started -R -s /run/bird.ctl -d -c "+dir+"/bird.cfg\n" {
		t.Errorf("the script: %q, %v", out.String(), err)
	}
	if got := string(waitingForConfig([]byte(in))); !strings.HasPrefix(got, "#!/bin/bash\n") {
		t.Errorf("it is another shell's: %q", got)
	}
	for _, other := range []string{"exec bird -d\n", "#!/bin/sh\nexec bird -d\n", strings.Replace(in, "/bin/sh", "/bin/sh -e", 1)} {
		if got := string(waitingForConfig([]byte(other))); got != other {
			t.Errorf("another script was changed: %q", got)
		}
	}
}

func TestWithShortWaits(t *testing.T) {
	if got := string(withShortWaits([]byte("a\nrouter id 1;\n  connect delay time 2;\n"))); got != "a\ngraceful restart wait 10;\nrouter id 1;\n  connect delay time 1;\n" {
		t.Errorf("got %q", got)
	}
}

func TestRepack(t *testing.T) {
	dir := t.TempDir()
	const prefix = "golang.org/toolchain@v0.0.1/"
	write := func(names ...string) string {
		f, err := os.Create(filepath.Join(dir, "m.zip"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z := zip.NewWriter(f)
		for _, name := range names {
			w, err := z.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, "content of "+name); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	out := filepath.Join(dir, "go.tar")
	files, err := repack(write(prefix+"VERSION", prefix+"bin/go", prefix+"pkg/tool/linux_amd64/vet", prefix+"src/x.go"), prefix, out)
	if err != nil || files != 4 {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]int64{}
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[hdr.Name] = hdr.Mode
		data, _ := io.ReadAll(tr)
		if !strings.HasPrefix(string(data), "content of "+prefix) {
			t.Errorf("%s: %q", hdr.Name, data)
		}
	}
	want := map[string]int64{"go/VERSION": 0o644, "go/bin/go": 0o755, "go/pkg/tool/linux_amd64/vet": 0o755, "go/src/x.go": 0o644}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := repack(write("elsewhere/x"), prefix, out); err == nil {
		t.Error("an entry of another module was taken")
	}
}

func TestLayer(t *testing.T) {
	layer, err := layerFrom(
		file{to: "/usr/bin/a", content: []byte("A"), mode: 0o755},
		file{to: "/usr/bin/b", link: "/usr/bin/a"},
		file{to: "/etc/c", content: []byte("C"), mode: 0o644},
	)
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for tr := tar.NewReader(r); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(tr)
		got = append(got, strings.TrimSpace(strings.Join([]string{hdr.Name, hdr.FileInfo().Mode().String(), hdr.Linkname, string(data)}, " ")))
	}
	want := []string{
		"usr/ drwxr-xr-x", "usr/bin/ drwxr-xr-x", "usr/bin/a -rwxr-xr-x  A",
		"usr/bin/b Lrwxrwxrwx /usr/bin/a", "etc/ drwxr-xr-x", "etc/c -rw-r--r--  C",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRoomFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	if err := RoomFor(dir, 1); err != nil {
		t.Error(err)
	}
	if err := RoomFor(dir, 1<<60); err == nil || !strings.Contains(err.Error(), "make room") {
		t.Errorf("no error for a disk that nobody has: %v", err)
	}
}

// TestImageLabel: an image says its own ID, which depends on what is in it.
func TestImageLabel(t *testing.T) {
	m := &Maker{Arch: "amd64", ImageLabel: "lab.image"}
	ids := map[string]bool{}
	for _, content := range []string{"one", "other", "one"} {
		layer, err := layerFrom(file{to: "/usr/bin/x", content: []byte(content), mode: 0o755})
		if err != nil {
			t.Fatal(err)
		}
		img, err := m.image(v1.Config{Cmd: []string{"x"}}, layer)
		if err != nil {
			t.Fatal(err)
		}
		img, id, err := m.labelled(img)
		if err != nil {
			t.Fatal(err)
		}
		cf, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(id, "sha256:") || cf.Config.Labels["lab.image"] != id || cf.Config.Cmd[0] != "x" {
			t.Errorf("%s is of %+v", id, cf.Config)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Errorf("two images have %d IDs", len(ids))
	}
}

package ssh

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	cryptossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
	"github.com/calico-cni-lab/lab/scripts"
)

// home gives the user a home directory of the test's own, without keys, and no ssh-agent.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("SSH_AUTH_SOCK", "")
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newKey(t *testing.T) (private []byte, public cryptossh.PublicKey) {
	t.Helper()
	private, public, err := machine.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func planned(s lab.SSH) machine.Planned {
	return machine.Planned{Name: "calico1", Address: netip.MustParseAddr("192.168.4.5"), SSH: s}
}

func TestAddress(t *testing.T) {
	for want, s := range map[string]lab.SSH{
		"192.168.4.5:22":       {},
		"node.example:2222":    {Address: "node.example", Port: 2222},
		"[2001:db8::5]:22":     {Address: "2001:db8::5"},
		"192.168.4.5:22022":    {Port: 22022},
		"bastion.example.:443": {Address: "bastion.example.", Port: 443},
	} {
		if got := address(planned(s)); got != want {
			t.Errorf("%+v: %s, not %s", s, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	dir := home(t)
	if _, err := keys(planned(lab.SSH{})); err == nil || !strings.Contains(err.Error(), "machines.ssh.key") {
		t.Errorf("no key anywhere: %v", err)
	}

	private, public := newKey(t)
	write(t, filepath.Join(dir, ".ssh", "id_ed25519"), private)
	got, err := keys(planned(lab.SSH{}))
	if err != nil || len(got) != 1 || string(got[0].Signer.PublicKey().Marshal()) != string(public.Marshal()) {
		t.Errorf("the user's own: %v, %v", got, err)
	}

	private, public = newKey(t)
	write(t, filepath.Join(dir, "lab key"), private)
	got, err = keys(planned(lab.SSH{Key: "~/lab key"}))
	if err != nil || len(got) != 1 || got[0].File != filepath.Join(dir, "lab key") ||
		string(got[0].Signer.PublicKey().Marshal()) != string(public.Marshal()) {
		t.Errorf("a named one goes before the user's own: %v, %v", got, err)
	}

	_, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	locked, err := cryptossh.MarshalPrivateKeyWithPassphrase(secret, "", []byte("passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "locked"), pem.EncodeToMemory(locked))
	if _, err := keys(planned(lab.SSH{Key: "~/locked"})); err == nil || !strings.Contains(err.Error(), "ssh-add "+dir+"/locked") {
		t.Errorf("a key with a passphrase: %v", err)
	}
	if _, err := keys(planned(lab.SSH{Key: "~/nowhere"})); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a key that isn't there: %v", err)
	}
}

func TestEndpointHostKey(t *testing.T) {
	dir := home(t)
	private, _ := newKey(t)
	write(t, filepath.Join(dir, ".ssh", "id_ed25519"), private)
	p := New(machine.Options{StateDir: t.TempDir()})
	known := filepath.Join(dir, ".ssh", "known_hosts")
	_, theirs := newKey(t)
	_, others := newKey(t)
	line := strings.TrimSpace(string(cryptossh.MarshalAuthorizedKey(theirs)))
	_, ca := newKey(t)
	authority := strings.TrimSpace(string(cryptossh.MarshalAuthorizedKey(ca)))
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	oldPublic, err := cryptossh.NewPublicKey(&old.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := strings.TrimSpace(string(cryptossh.MarshalAuthorizedKey(oldPublic)))

	unknown := func(s lab.SSH, want ...string) {
		t.Helper()
		_, err := p.endpoint(planned(s))
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("error lacks %q: %v", w, err)
			}
		}
	}
	is := func(s lab.SSH, want cryptossh.PublicKey) {
		t.Helper()
		e, err := p.endpoint(planned(s))
		if err != nil || e.HostKey == nil || string(e.HostKey.Marshal()) != string(want.Marshal()) {
			t.Errorf("%+v: %v, %v", s, e.HostKey, err)
		}
	}

	unknown(lab.SSH{User: "netadmin", Port: 2222}, "ssh -p 2222 netadmin@192.168.4.5", "ssh-keyscan -t ed25519 -p 2222 192.168.4.5")
	is(lab.SSH{HostKey: line}, theirs)
	write(t, known, []byte(knownhosts.Line([]string{"other.example"}, others)+"\n"))
	unknown(lab.SSH{}, "host key isn't known here yet")
	write(t, known, []byte(knownhosts.Line([]string{"192.168.4.5"}, theirs)+"\n"))
	is(lab.SSH{}, theirs)
	unknown(lab.SSH{Port: 2222}, "host key isn't known here yet") // another port is another machine
	write(t, known, []byte(knownhosts.HashHostname("[192.168.4.5]:2222")+" "+line+"\n"))
	is(lab.SSH{Port: 2222}, theirs)
	// The machine's own key comes before what signed it, and before keys of older kinds.
	write(t, known, []byte("@cert-authority 192.168.4.* "+authority+"\n"))
	unknown(lab.SSH{}, "host key isn't known here yet")
	write(t, known, []byte("@cert-authority 192.168.4.* "+authority+"\n192.168.4.5 "+rsaKey+"\n192.168.4.5 "+line+"\n"))
	is(lab.SSH{}, theirs)
	write(t, known, []byte("192.168.4.5 "+rsaKey+"\n"))
	is(lab.SSH{}, oldPublic)

	// What was pinned stays, whatever known_hosts says later.
	if err := machine.SaveHostKey(p.StateDir, "calico1", others); err != nil {
		t.Fatal(err)
	}
	is(lab.SSH{Port: 2222}, others)
	// What lab.yaml says is what somebody has looked at since.
	is(lab.SSH{HostKey: line}, theirs)
}

// TestEndpoints: the machines that are the lab's, and of one that can't be entered the reason.
func TestEndpoints(t *testing.T) {
	dir := home(t)
	private, public := newKey(t)
	write(t, filepath.Join(dir, ".ssh", "id_ed25519"), private)
	plan := machine.Plan{Machines: []machine.Planned{{Name: "a"}, {Name: "b", SSH: lab.SSH{Key: "~/gone"}}, {Name: "c", SSH: lab.SSH{Address: "c.example", Port: 2222}}}}
	p := New(machine.Options{StateDir: t.TempDir(), Plan: plan})
	if _, err := p.Endpoints(); !errors.Is(err, machine.ErrNotUp) {
		t.Errorf("before it is up: %v", err)
	}
	for _, name := range []string{"b", "c"} {
		if err := machine.SaveHostKey(p.StateDir, name, public); err != nil {
			t.Fatal(err)
		}
	}
	all, err := p.Endpoints()
	if err != nil || len(all) != 2 || all[0].Machine != "b" || all[0].Err == nil || all[1].Machine != "c" || all[1].Err != nil {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := remote.Dial(t.Context(), all[0], nil); err == nil || !strings.Contains(err.Error(), dir+"/gone") {
		t.Errorf("b: %v", err)
	}
	if want := "ssh-keyscan -t ed25519 -p 2222 c.example"; !strings.Contains(all[1].OtherKey, want) || !strings.Contains(all[1].OtherKey, "-forget=c") {
		t.Errorf("no %q in %q", want, all[1].OtherKey)
	}
	if err := machine.WriteSSHConfig(p.StateDir, all); err != nil {
		t.Error(err)
	}
}

// TestPreflightScript runs the script on this computer, whose answers differ; only what any computer answers alike is tested.
func TestPreflightScript(t *testing.T) {
	run := func(address, arch string) string {
		out, err := exec.Command("sh", "-c", scripts.Text("host-preflight.sh"), "host-preflight.sh", address, arch).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if out := run("127.0.0.1", runtime.GOARCH); strings.Contains(out, "CPU") || strings.Contains(out, "address") || strings.Contains(out, "needs Linux") {
		t.Errorf("this computer is as it should be, and yet it printed:\n%s", out)
	}
	if out := run("192.0.2.1", "riscv64"); !strings.Contains(out, "what is made here is for riscv64") || !strings.Contains(out, "no interface has the address 192.0.2.1") {
		t.Errorf("another CPU and address:\n%s", out)
	}
}

func TestChosen(t *testing.T) {
	for _, c := range []struct {
		name string
		lab  *lab.Lab
		want bool
	}{
		{"no lab", nil, false},
		{"no machine can be entered", &lab.Lab{Machines: []lab.Machine{{Name: "a"}}}, false},
		{"one can", &lab.Lab{Machines: []lab.Machine{{Name: "a"}, {Name: "b", SSH: lab.SSH{Port: 2222}}}}, true},
	} {
		if reason, ok := chosen(t.Context(), machine.Options{Lab: c.lab}); ok != c.want || !strings.Contains(reason, "lab.yaml") {
			t.Errorf("%s: %q, %v", c.name, reason, ok)
		}
	}
}

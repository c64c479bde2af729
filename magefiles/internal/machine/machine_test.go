package machine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	first, err := UserKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, UserKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	again, err := UserKey(dir)
	if err != nil || string(again.PublicKey().Marshal()) != string(first.PublicKey().Marshal()) {
		t.Errorf("another key the second time: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, UserKeyFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := UserKey(dir); err == nil || !strings.Contains(err.Error(), "go tool mage destroy") {
		t.Errorf("damaged key: %v", err)
	}

	if _, err := HostKey(dir, "calico1"); !errors.Is(err, ErrNotUp) {
		t.Errorf("host key of nobody: %v", err)
	}
	private, public, err := NewKey("calico1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.ParsePrivateKey(private)
	if err != nil || string(s.PublicKey().Marshal()) != string(public.Marshal()) {
		t.Errorf("the two parts don't belong together: %v", err)
	}
	if err := SaveHostKey(dir, "calico1", public); err != nil {
		t.Fatal(err)
	}
	got, err := HostKey(dir, "calico1")
	if err != nil || string(got.Marshal()) != string(public.Marshal()) {
		t.Errorf("host key: %v", err)
	}
	for range 2 {
		if err := ForgetHostKey(dir, "calico1"); err != nil {
			t.Error(err)
		}
		if _, err := HostKey(dir, "calico1"); !errors.Is(err, ErrNotUp) {
			t.Errorf("host key that was forgotten: %v", err)
		}
	}
}

func TestWriteSSHConfig(t *testing.T) {
	dir := t.TempDir()
	_, public, err := NewKey("x")
	if err != nil {
		t.Fatal(err)
	}
	err = WriteSSHConfig(dir, []remote.Endpoint{
		{Machine: "calico1", Network: "unix", Address: "/var/lib/lab/calico1/ssh.sock", User: "vagrant", HostKey: public, Keys: []remote.Key{{File: "/lab dir/id_ed25519"}}},
		{Machine: "calico2", Network: "tcp", Address: "127.0.0.1:2222", User: "debian", HostKey: public, Keys: []remote.Key{{File: "/a"}, {File: "/b"}}},
		{Machine: "calico3", Network: "tcp", Address: "node.example:22", User: "debian", HostKey: public, Keys: []remote.Key{{}, {File: "/c"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, SSHConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	want := `# Made by ` + "`go tool mage up`" + `. Use: ssh -F DIR/ssh_config MACHINE

Host calico1
  User vagrant
  HostKeyAlias calico1
  IdentityFile "/lab dir/id_ed25519"
  HostName localhost
  ProxyCommand socat - UNIX-CONNECT:/var/lib/lab/calico1/ssh.sock

Host calico2
  User debian
  HostKeyAlias calico2
  IdentityFile "/a"
  IdentityFile "/b"
  HostName 127.0.0.1
  Port 2222

Host calico3
  User debian
  HostKeyAlias calico3
  IdentitiesOnly no
  HostName node.example
  Port 22

Host *
  IdentitiesOnly yes
  UserKnownHostsFile "DIR/known_hosts"
  StrictHostKeyChecking yes
  PasswordAuthentication no
  LogLevel ERROR
`
	if diff := cmp.Diff(want, strings.ReplaceAll(string(data), dir, "DIR")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	known, err := os.ReadFile(filepath.Join(dir, "known_hosts"))
	if err != nil || !strings.HasPrefix(string(known), "calico1 ssh-ed25519 ") || strings.Count(string(known), "\n") != 3 {
		t.Errorf("known_hosts: %q, %v", known, err)
	}
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no ssh to read it with")
	}
	out, err := exec.Command("ssh", "-G", "-F", filepath.Join(dir, SSHConfigFile), "calico2").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nport 2222\n") || !strings.Contains(string(out), "\nstricthostkeychecking true\n") {
		t.Errorf("ssh -G: %v\n%s", err, out)
	}
}

package docker

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calico-cni-lab/lab/magefiles/internal/machine"
)

// TestCurrent: in the order that docker(1) has: DOCKER_HOST, DOCKER_CONTEXT, `docker context use`.
func TestCurrent(t *testing.T) {
	for _, c := range []struct {
		name, host, context, config string
		want                        string
		command                     string
		far                         bool
	}{
		{name: "nothing said", want: `context "default"`, command: "env -u DOCKER_HOST docker --context default"},
		{name: "used", config: `{"auths": {}, "currentContext": "desktop-linux"}`, want: `context "desktop-linux"`, command: "docker --context desktop-linux"},
		{name: "the environment's", context: "colima", config: `{"currentContext": "desktop-linux"}`, want: `context "colima"`, command: "docker --context colima"},
		{name: "a host", host: "ssh://me@far", context: "colima", want: "ssh://me@far", command: "docker --host ssh://me@far", far: true},
		{name: "a port", host: "tcp://127.0.0.1:2375", want: "tcp://127.0.0.1:2375", command: "docker --host tcp://127.0.0.1:2375", far: true},
		{name: "a socket", host: "unix:///run/user/docker.sock", want: "unix:///run/user/docker.sock", command: "docker --host unix:///run/user/docker.sock"},
		{name: "a configuration that can't be read", config: "{", want: `context "default"`, command: "env -u DOCKER_HOST docker --context default"},
	} {
		getenv := func(name string) string {
			return map[string]string{"DOCKER_HOST": c.host, "DOCKER_CONTEXT": c.context}[name]
		}
		d := current(getenv, []byte(c.config))
		if d.String() != c.want || strings.Join(d.command(), " ") != c.command || d.far() != c.far {
			t.Errorf("%s: %s, %q, far: %t", c.name, d, d.command(), d.far())
		}
	}
}

// TestDaemonFile: a lab knows where it is; a file that doesn't say so is an error.
func TestDaemonFile(t *testing.T) {
	dir := t.TempDir()
	if _, made, err := readDaemon(dir); made || err != nil {
		t.Errorf("none: %t, %v", made, err)
	}
	want := daemon{ID: "0123", Context: "colima", Daemon: "K27C", Arch: "arm64", Base: "debian"}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	if got, made, err := readDaemon(dir); got != want || !made || err != nil {
		t.Errorf("%+v, %t, %v", got, made, err)
	}
	for _, text := range []string{"", "{", `{"id": "0123"}`} {
		if err := os.WriteFile(filepath.Join(dir, daemonFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readDaemon(dir); err == nil || !strings.Contains(err.Error(), daemonFile+": ") || !strings.Contains(err.Error(), "the file says at which daemon the lab is: move it away") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestFault: of Docker 20.10 on Debian 12, Docker Desktop 4 on Windows and macOS, and rootless Docker, as `docker info` has it.
func TestFault(t *testing.T) {
	good := info{ServerVersion: "20.10.24+dfsg1", OSType: "linux", Architecture: "x86_64", MemTotal: 2 << 30, SecurityOptions: []string{"name=seccomp,profile=default"}}
	for _, c := range []struct {
		name   string
		change func(*info)
		want   []string
	}{
		{"Debian 12", func(*info) {}, nil},
		{"Docker Desktop", func(i *info) { i.ServerVersion, i.Architecture = "28.5.1", "aarch64" }, nil},
		{"too old", func(i *info) { i.ServerVersion = "19.03.15" }, []string{"is 19.03.15", "20.10 or newer"}},
		{"Podman 4.3 at its socket", func(i *info) { i.ServerVersion = "4.3.1" }, []string{"is 4.3.1", "where that is Podman, use Docker"}},
		{"no version", func(i *info) { i.ServerVersion = "" }, []string{"is it Docker, not Podman?"}},
		{"Windows containers", func(i *info) { i.OSType = "windows" }, []string{"switch it to Linux containers"}},
		{"another CPU", func(i *info) { i.Architecture = "riscv64" }, []string{"riscv64"}},
		{"little memory, and rootless", func(i *info) {
			i.MemTotal, i.SecurityOptions = 400<<20, append(slices.Clone(i.SecurityOptions), "name=rootless")
		}, []string{"400 MB of memory, 3 machines need 480 MB", "is rootless"}},
	} {
		i := good
		c.change(&i)
		err := i.fault(3)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, part := range c.want {
			if err != nil && !strings.Contains(err.Error(), part) {
				t.Errorf("%s: no %q in %v", c.name, part, err)
			}
		}
	}
}

func TestClashing(t *testing.T) {
	subnet := netip.MustParsePrefix("192.168.4.0/24")
	of := func(name, subnet, id string) network {
		n := network{Name: name, Labels: map[string]string{}}
		if id != "" {
			n.Labels = map[string]string{labelID: id, labelOwner: "somebody@there"}
		}
		n.IPAM.Config = append(n.IPAM.Config, struct{ Subnet string }{subnet})
		return n
	}
	for _, c := range []struct {
		name string
		all  []network
		want string
	}{
		{"none", nil, ""},
		{"Docker's own", []network{of("bridge", "172.17.0.0/16", ""), {Name: "host"}, of("v6", "fd00::/64", ""), of("odd", "", "")}, ""},
		{"this lab's", []network{of("lab", "192.168.4.0/24", "1")}, ""},
		{"another lab's", []network{of("other", "192.168.4.0/24", "2")}, "or destroy the lab of somebody@there"},
		{"a larger one", []network{of("wide", "192.168.0.0/16", "")}, `network "wide" has too (192.168.0.0/16); give the lab others in lab.yaml (underlay: subnet`},
		{"a stranger's", []network{of("near", "192.168.4.128/25", "")}, "or remove that network: docker network rm near"},
		{"its name", []network{of("lab", "10.0.0.0/8", "")}, `a network "lab" already`},
	} {
		err := clashing(c.all, subnet, "1", "lab")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestUnfit reads what docker-fit.sh writes.
func TestUnfit(t *testing.T) {
	if err := unfit("", 3); err != nil {
		t.Error(err)
	}
	err := unfit("kernel ip_set (hash:ip): ipset v7.17: Cannot open session to kernel.\nkernel vxlan: Error: Unknown device type.\ninotify 16\ndisk 2048\nmemory 102400\n", 3)
	if err == nil {
		t.Fatal("no fault")
	}
	for _, part := range []string{
		"\n  ip_set (hash:ip): ipset v7.17: Cannot open session to kernel.\n  vxlan: Error: Unknown device type.\n",
		"16 inotify instances, and 3 machines need 40", "2 MB of free space, 3 machines need 900 MB", "100 MB of memory free",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in %v", part, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{
		"45.5MiB / 23.59GiB": 45<<20 + 1<<19, "1.5GiB / 23GiB": 3 << 29, "512KiB / 1GiB": 512 << 10, "12.5MB / 2GB": 12500000, "0B / 0B": 0, "--": 0, "": 0,
	} {
		if got := size(text); got != want {
			t.Errorf("%q: %d, not %d", text, got, want)
		}
	}
}

func TestRemedy(t *testing.T) {
	for said, want := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?":                                       "start Docker",
		"permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock":                                    "usermod -aG docker",
		"error during connect: this error may indicate that the docker daemon is not running":                                                     "start Docker",
		"Error response from daemon: mkdir /var/lib/docker/overlay2/x: no space left on device":                                                   "docker system df",
		"Error response from daemon: Pool overlaps with other one on this address space":                                                          "underlay: subnet",
		`Failed to initialize: unable to resolve docker endpoint: context "colima": context not found: open /root/.docker/contexts: no such file`: "docker context ls",
		"Error: No such image: x": "",
	} {
		if got := remedy(said); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", said, got)
		}
	}
}

// TestEndpoints: through the docker command, at the lab's daemon, wherever its context points now.
func TestEndpoints(t *testing.T) {
	dir := t.TempDir()
	p := New(machine.Options{StateDir: dir, Plan: machine.Plan{Name: "lab", Machines: []machine.Planned{{Name: "calico1"}}}})
	if _, err := p.Endpoints(); err != machine.ErrNotUp { //nolint:errorlint // as it is
		t.Errorf("before: %v", err)
	}
	if err := (daemon{ID: "1", Context: "colima"}).write(dir); err != nil {
		t.Fatal(err)
	}
	_, public, err := machine.NewKey("calico1")
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.SaveHostKey(dir, "calico1", public); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "unix:///elsewhere")
	all, err := p.Endpoints()
	if err == nil && (all[0].Handshake != handshakeTime || p.Capabilities().SlowCPU) {
		t.Errorf("a daemon here: %s, %+v", all[0].Handshake, p.Capabilities())
	}
	if err != nil || len(all) != 1 || strings.Join(all[0].Proxy, " ") != "docker --context colima exec --interactive lab-calico1 /usr/local/lib/lab/sshd" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := machine.WriteSSHConfig(dir, all); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(dir, machine.SSHConfigFile))
	if err != nil || !strings.Contains(string(config), "\n  ProxyCommand docker --context colima exec --interactive lab-calico1 /usr/local/lib/lab/sshd\n") {
		t.Errorf("%v\n%s", err, config)
	}
}

// TestFar: the lab's own daemon counts, not the one that the docker command talks to; a login has the time of its computer.
func TestFar(t *testing.T) {
	dir := t.TempDir()
	p := New(machine.Options{StateDir: dir, Plan: machine.Plan{Name: "lab", Machines: []machine.Planned{{Name: "calico1"}}}})
	t.Setenv("DOCKER_HOST", "ssh://me@far")
	if !p.Capabilities().SlowCPU {
		t.Error("no lab yet, a daemon that is far")
	}
	if err := (daemon{ID: "1", Context: defaultContext, Host: "unix:///here"}).write(dir); err != nil {
		t.Fatal(err)
	}
	if p.Capabilities().SlowCPU || p.patience(bootTimeout) != bootTimeout {
		t.Error("a lab at a daemon that is here")
	}
	if err := (daemon{ID: "1", Context: defaultContext, Host: "tcp://far:2375"}).write(dir); err != nil {
		t.Fatal(err)
	}
	_, public, err := machine.NewKey("calico1")
	if err != nil {
		t.Fatal(err)
	}
	if err := machine.SaveHostKey(dir, "calico1", public); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "unix:///here")
	all, err := p.Endpoints()
	if err != nil || !p.Capabilities().SlowCPU || all[0].Handshake != slow*handshakeTime {
		t.Errorf("a lab at a daemon that is far: %+v, %v", all, err)
	}
}

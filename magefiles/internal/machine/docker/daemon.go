package docker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/keep"
)

// daemonFile is in a lab's state directory from before anything is made at a daemon: which one it is.
const daemonFile = "docker.json"

// daemon is where a lab is, wherever the docker command's context points later.
type daemon struct {
	ID      string `json:"id"`             // the lab's own, on everything that it has there
	Context string `json:"context"`        // of the docker command
	Host    string `json:"host,omitempty"` // DOCKER_HOST, where that was set
	Daemon  string `json:"daemon"`         // its own ID; "" where it has none
	Arch    string `json:"arch"`           // GOARCH of its computer
	Base    string `json:"base"`           // the Debian image that the lab's are made from
	Layers  string `json:"layers"`         // that it had then; "" where its name says which image it is
}

func readDaemon(stateDir string) (d daemon, made bool, err error) {
	file := filepath.Join(stateDir, daemonFile)
	made, err = keep.ReadJSON(file, &d)
	if made && err == nil && (d.ID == "" || d.Context == "") {
		err = fmt.Errorf("%s: the lab's ID or the context is missing", file)
	}
	if err != nil {
		return d, false, fmt.Errorf("%w; the file says at which daemon the lab is: move it away, then go tool mage destroy, which goes by the lab's name", err)
	}
	return d, made, nil
}

func (d daemon) write(stateDir string) error {
	return keep.WriteJSON(filepath.Join(stateDir, daemonFile), d, 0o644)
}

// here is the daemon that the docker command talks to now.
func here() daemon {
	config := os.Getenv("DOCKER_CONFIG")
	if home, err := os.UserHomeDir(); config == "" && err == nil {
		config = filepath.Join(home, ".docker")
	}
	file, _ := os.ReadFile(filepath.Join(config, "config.json"))
	return current(os.Getenv, file)
}

// defaultContext is what the docker command calls the one that isn't configured.
const defaultContext = "default"

// current is here, from the environment and the docker command's configuration, in its order.
func current(getenv func(string) string, config []byte) daemon {
	if host := getenv("DOCKER_HOST"); host != "" {
		return daemon{Context: defaultContext, Host: host}
	}
	if name := getenv("DOCKER_CONTEXT"); name != "" {
		return daemon{Context: name}
	}
	var c struct{ CurrentContext string }
	if json.Unmarshal(config, &c) == nil && c.CurrentContext != "" {
		return daemon{Context: c.CurrentContext}
	}
	return daemon{Context: defaultContext}
}

// String is for people.
func (d daemon) String() string {
	if d.Host != "" {
		return d.Host
	}
	return fmt.Sprintf("context %q", d.Context)
}

// far says that the daemon's computer is another, of whose CPU nothing is known. Of a context, whose name says nothing, it isn't asked.
func (d daemon) far() bool {
	return d.Host != "" && !strings.HasPrefix(d.Host, "unix://") && !strings.HasPrefix(d.Host, "npipe://")
}

func (d daemon) same(other daemon) bool { return d.Context == other.Context && d.Host == other.Host }

// command is the docker command, for this daemon and no other.
func (d daemon) command() []string {
	switch {
	case d.Host != "":
		return []string{"docker", "--host", d.Host}
	case d.Context == defaultContext: // which is what DOCKER_HOST says, where somebody has set it since
		return []string{"env", "-u", "DOCKER_HOST", "docker", "--context", d.Context}
	}
	return []string{"docker", "--context", d.Context}
}

// labels are the options that mark something as this lab's, and as a machine's where one is named.
func (p *Provider) labels(d daemon, machine string) []string {
	args := []string{"--label", labelLab + "=" + p.Plan.Name, "--label", labelID + "=" + d.ID, "--label", labelOwner + "=" + p.owner()}
	if machine != "" {
		args = append(args, "--label", labelMachine+"="+machine)
	}
	return args
}

// owner is whose the lab is, for people, and for this lab itself should it have lost its file.
func (p *Provider) owner() string { return user() + ":" + filepath.Dir(p.StateDir) }

// user is who runs this, and where.
func user() string {
	name := fmt.Sprint(os.Getuid())
	if me, err := osuser.Current(); err == nil {
		name = me.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return name + "@" + host
}

// known is the daemon that the lab is at, or will be.
func (p *Provider) known() (daemon, error) {
	d, made, err := readDaemon(p.StateDir)
	switch {
	case err != nil:
		return d, err
	case !made:
		return here(), nil
	}
	if now := here(); !now.same(d) {
		p.Notice("the docker command talks to another daemon now (%s); the lab stays where it was made: %s", now, d)
	}
	return d, nil
}

// claim is known for a lab that is to be brought up: it keeps where that is, and refuses another daemon that answers there.
func (p *Provider) claim(ctx context.Context) (daemon, error) {
	d, err := p.known()
	if err != nil {
		return d, err
	}
	seen, err := p.info(ctx, d)
	if err != nil {
		return d, err
	}
	if d.ID != "" && d.Daemon == seen.ID {
		other := d.rebased()
		if other == d {
			return d, nil
		}
		if other.Layers, err = p.layers(ctx, other); err != nil {
			return d, err
		}
		return other, other.write(p.StateDir)
	}
	if d.ID != "" {
		// Its ID may be another after an update, and then the machines are there.
		states, err := p.states(ctx, d)
		if err != nil {
			return d, err
		}
		if len(states) == 0 {
			return d, fmt.Errorf("another Docker daemon answers at %s than the one that the lab was made at, and the lab's machines aren't there; "+
				"switch it back (Docker Desktop, Colima and the like take the same socket), or start over: go tool mage destroy verify", d)
		}
		d.Daemon = seen.ID
		return d, d.write(p.StateDir)
	}
	d.Daemon, d.Arch = seen.ID, seen.arch()
	if d.Base, err = p.baseImage(); err != nil {
		return d, err
	}
	if d.Layers, err = p.layers(ctx, d); err != nil {
		return d, err
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return d, err
	}
	d.ID = fmt.Sprintf("%x", id)
	return d, d.write(p.StateDir)
}

// info is what is asked of a daemon.
type info struct {
	ID              string
	ServerVersion   string
	OSType          string
	Architecture    string
	KernelVersion   string
	MemTotal        int64
	SecurityOptions []string
}

func (p *Provider) info(ctx context.Context, d daemon) (info, error) {
	var i info
	out, err := p.docker(ctx, d, "info", "--format", "{{json .}}")
	if err == nil {
		if jerr := json.Unmarshal([]byte(out), &i); jerr != nil {
			err = fmt.Errorf("docker info: %w", jerr)
		}
	}
	return i, err
}

// arch is the daemon's computer's, as Go calls it.
func (i info) arch() string {
	switch i.Architecture {
	case "x86_64", "amd64":
		return "amd64"
	case "aarch64", "arm64":
		return "arm64"
	}
	return i.Architecture
}

// installed says whether there is a docker command.
func installed() bool {
	_, err := exec.LookPath("docker")
	return err == nil
}

// errNoCommand is why nothing can be asked of Docker.
var errNoCommand = errors.New("there is no docker command; install Docker (https://docs.docker.com/get-started/get-docker/), or use another hardware layer: LAB_HARDWARE=nspawn")

// run runs the docker command. It says what to do about a daemon that isn't there, or is full.
func (d daemon) run(ctx context.Context, runner *command.Runner, c command.Cmd) (string, error) {
	if !installed() {
		return "", errNoCommand
	}
	c.Args = append(d.command(), c.Args...)
	out, err := runner.Run(ctx, c)
	var failed *command.Error
	if !errors.As(err, &failed) {
		return out, err
	}
	said := failed.Stderr
	if strings.TrimSpace(said) == "" || strings.HasSuffix(strings.TrimSpace(said), "EOF") { // as when the daemon ends while it is at work
		var gone *command.Error
		if _, err := runner.Run(ctx, command.Cmd{Args: append(d.command(), "version"), Timeout: commandTimeout}); errors.As(err, &gone) {
			said = gone.Stderr
		}
	}
	if remedy := remedy(said); remedy != "" {
		err = fmt.Errorf("%w\n  what to do: %s", err, remedy)
	}
	return out, err
}

// remedies are what to do, by what the docker command says.
var remedies = []struct{ said, remedy string }{
	{"permission denied while trying to connect", "you may not use this daemon: join the group docker (sudo usermod -aG docker $USER) and log in again"},
	{"Cannot connect to the Docker daemon", "start Docker (Docker Desktop, or: sudo systemctl start docker), then run this again: it goes on where it was"},
	{"error during connect", "start Docker (Docker Desktop, or: sudo systemctl start docker), then run this again: it goes on where it was"},
	{"context not found", "the lab was made at this context: restore it (docker context ls), or, if its daemon is gone for good, remove the state directory .lab beside lab.yaml"},
	{"no space left on device", "the daemon's disk is full; see what is on it with docker system df, make room there (docker builder prune; in Docker Desktop: Settings, Resources), " +
		"then run this again: it goes on where it was"},
	{"Pool overlaps with other one", "another network of this daemon has these addresses; give the lab others in lab.yaml (underlay: subnet, and the machines' addresses), or remove that network"},
}

func remedy(stderr string) string {
	for _, r := range remedies {
		if strings.Contains(stderr, r.said) {
			return r.remedy
		}
	}
	return ""
}

// copyIn puts the files of a tar below a directory of a container.
func (p *Provider) copyIn(ctx context.Context, d daemon, tar []byte, container, dir string) error {
	_, err := d.run(ctx, p.Run, command.Cmd{Args: []string{"cp", "-", container + ":" + dir}, Stdin: bytes.NewReader(tar), Timeout: p.patience(commandTimeout)})
	return err
}

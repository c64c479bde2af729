package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/remote"
)

// Labels that the lab's containers carry, whoever starts them.
const (
	labelPart  = "calico-cni-lab.part"  // which of the lab's containers it is, whatever its name
	labelImage = "calico-cni-lab.image" // ID of its image as it was made; Docker's own differs from store to store
)

// container is a container as it is to run.
type container struct {
	part     string
	name     string
	image    artifact.Image
	network  string   // host or none
	hostname string   // "" is the machine's
	env      []string // NAME=value
	volumes  []string // from:to, and :ro
	caps     []string // beside Docker's usual ones, without CAP_
	seccomp  bool     // whether system calls are filtered
	sysWrite bool     // whether /proc/sys can be written to
	init     bool     // whether Docker's own init is its first process
	grace    int      // seconds to end in, when it is stopped; 0 is Docker's 10
	cmd      []string
}

// run is the command line that starts it.
func (c container) run() []string {
	args := []string{
		"docker", "run", "--detach", "--name", c.name, "--label", labelPart + "=" + c.part, "--label", labelImage + "=" + c.image.ID,
		"--restart", "unless-stopped", "--net", c.network,
	}
	if c.hostname != "" {
		args = append(args, "--hostname", c.hostname)
	}
	list := func(flag string, values []string) {
		for _, v := range values {
			args = append(args, flag, v)
		}
	}
	list("--cap-add", c.caps)
	list("--env", c.env)
	list("--volume", c.volumes)
	if !c.seccomp {
		args = append(args, "--security-opt", "seccomp=unconfined")
	}
	if c.sysWrite {
		args = append(args, "--security-opt", "systempaths=unconfined")
	}
	if c.init {
		args = append(args, "--init")
	}
	if c.grace > 0 {
		args = append(args, "--stop-timeout", strconv.Itoa(c.grace))
	}
	return append(append(args, c.image.Ref), c.cmd...)
}

// inspected is what is read of `docker inspect` (Docker Engine API, ContainerInspect).
type inspected struct {
	ID     string `json:"Id"`
	Name   string
	State  struct{ Status string }
	Config struct {
		Hostname    string
		Env, Cmd    []string
		Labels      map[string]string
		StopTimeout int
	}
	HostConfig struct {
		NetworkMode                             string
		RestartPolicy                           struct{ Name string }
		Binds, CapAdd, SecurityOpt, MaskedPaths []string
		Init                                    bool
	}
}

// otherwise names what of a container is not as c wants it.
func (c container) otherwise(is inspected) []string {
	sorted := func(values []string, change func(string) string) []string {
		out := make([]string, len(values))
		for i, v := range values {
			out[i] = change(v)
		}
		slices.Sort(out)
		return out
	}
	bind := func(v string) string { return strings.TrimSuffix(v, ":rw") }
	capability := func(v string) string { return strings.TrimPrefix(v, "CAP_") }
	var names []string
	for _, part := range []struct {
		name string
		same bool
	}{
		{"name", is.Name == "/"+c.name},
		{"image", is.Config.Labels[labelImage] == c.image.ID},
		{"command", slices.Equal(is.Config.Cmd, c.cmd)},
		// The image's own variables are among them.
		{"environment", !slices.ContainsFunc(c.env, func(v string) bool { return !slices.Contains(is.Config.Env, v) })},
		{"volumes", slices.Equal(sorted(is.HostConfig.Binds, bind), sorted(c.volumes, bind))},
		{"capabilities", slices.Equal(sorted(is.HostConfig.CapAdd, capability), sorted(c.caps, capability))},
		{"seccomp profile", slices.Contains(is.HostConfig.SecurityOpt, "seccomp=unconfined") != c.seccomp},
		{"system paths", (len(is.HostConfig.MaskedPaths) == 0) == c.sysWrite},
		{"network", is.HostConfig.NetworkMode == c.network},
		{"host name", c.hostname == "" || is.Config.Hostname == c.hostname},
		{"restart policy", is.HostConfig.RestartPolicy.Name == "unless-stopped"},
		{"init", is.HostConfig.Init == c.init},
		{"stop timeout", is.Config.StopTimeout == c.grace},
	} {
		if !part.same {
			names = append(names, part.name)
		}
	}
	return names
}

// ofPart gives the containers of the part.
func (c container) ofPart(ctx context.Context, h *remote.Host) ([]inspected, error) {
	out, err := h.Script(ctx, `docker ps --all --quiet --filter "label=$1" | xargs --no-run-if-empty docker inspect --format "{{json .}}"`, labelPart+"="+c.part)
	if err != nil {
		return nil, err
	}
	var all []inspected
	for line := range strings.Lines(out) {
		var is inspected
		if err := json.Unmarshal([]byte(line), &is); err != nil {
			return nil, fmt.Errorf("docker inspect on %s: %w", h.Name, err)
		}
		all = append(all, is)
	}
	return all, nil
}

// lack says what keeps the container from running as it should, or "".
func (c container) lack(ctx context.Context, h *remote.Host) (string, error) {
	all, err := c.ofPart(ctx, h)
	if err != nil {
		return "", err
	}
	if len(all) == 0 {
		return "no container " + c.name, nil
	}
	for _, is := range all {
		if other := c.otherwise(is); len(other) > 0 {
			return fmt.Sprintf("container %s has another %s", strings.TrimPrefix(is.Name, "/"), strings.Join(other, ", ")), nil
		}
		if is.State.Status != "running" {
			return "container " + c.name + " is " + is.State.Status, nil
		}
	}
	return "", nil
}

// ensure makes the container run as it should.
func (c container) ensure(ctx context.Context, h *remote.Host) error {
	lack, err := c.lack(ctx, h)
	if err != nil || lack == "" {
		return err
	}
	if err := load(ctx, h, c.image); err != nil {
		return err
	}
	// Whatever is there of this part: another version's, a half-made one; or one of that name.
	if _, err := h.Script(ctx, `{ docker ps --all --quiet --filter "label=$1"; docker ps --all --quiet --filter "name=^/$2\$"; } |
		sort --unique | xargs --no-run-if-empty docker rm --force`, labelPart+"="+c.part, c.name); err != nil {
		return err
	}
	_, err = h.Sudo(ctx, c.run()...)
	return err
}

// load sees that a machine has an image.
func load(ctx context.Context, h *remote.Host, img artifact.Image) error {
	if id, err := h.Sudo(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", img.Ref); err == nil && id == img.ID {
		return nil
	}
	if _, err := h.Stream(ctx, img.Archive, "docker load --quiet"); err != nil {
		return fmt.Errorf("loading %s: %w", img.Ref, err)
	}
	return nil
}

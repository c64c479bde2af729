package spec

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/calico-cni-lab/lab/magefiles/internal/artifact"
	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// Container is a container as it is to run.
type Container struct {
	Part     string         // fact.PartEtcd, ...: which of the lab's it is, whatever its name
	Several  bool           // whether there are several of the part, which are told apart by their names
	Name     string         // as `docker ps` shows it
	Image    artifact.Image // what it runs
	CA       string         // SHA-256 of the authority's certificate that it trusts from its start on; "" for none
	Network  string         // host or none
	Hostname string         // "" is the machine's
	Env      []string       // NAME=value
	Volumes  []string       // from:to, and :ro or :rw
	Caps     []string       // beside Docker's usual ones, without CAP_
	Seccomp  bool           // whether system calls are filtered
	SysWrite bool           // whether /proc/sys can be written to
	Init     bool           // whether Docker's own init is its first process
	Grace    int            // seconds to end in, when it is stopped; 0 is Docker's 10
	Cmd      []string
}

// Flags are `docker create`'s, up to and with the command.
func (c Container) Flags() []string {
	args := []string{
		"--name", c.Name, "--label", fact.LabelPart + "=" + c.Part, "--label", fact.LabelImage + "=" + c.Image.ID,
		"--restart", "unless-stopped", "--net", c.Network,
	}
	if c.Hostname != "" {
		args = append(args, "--hostname", c.Hostname)
	}
	if c.CA != "" {
		args = append(args, "--label", fact.LabelCA+"="+c.CA)
	}
	list := func(flag string, values []string) {
		for _, v := range values {
			args = append(args, flag, v)
		}
	}
	list("--cap-add", c.Caps)
	list("--env", c.Env)
	list("--volume", c.Volumes)
	if !c.Seccomp {
		args = append(args, "--security-opt", "seccomp=unconfined")
	}
	if c.SysWrite {
		args = append(args, "--security-opt", "systempaths=unconfined")
	}
	if c.Init {
		args = append(args, "--init")
	}
	if c.Grace > 0 {
		args = append(args, "--stop-timeout", strconv.Itoa(c.Grace))
	}
	return append(append(args, c.Image.Ref), c.Cmd...)
}

// DataVolumes are the names of Docker's volumes that it has; its other volumes are directories of the machine's.
func (c Container) DataVolumes() []string {
	var names []string
	for _, v := range c.Volumes {
		if from, _, _ := strings.Cut(v, ":"); !strings.HasPrefix(from, "/") {
			names = append(names, from)
		}
	}
	return names
}

// VolumeFlags are `docker volume create`'s for one of them.
func (c Container) VolumeFlags(name string) []string {
	return []string{"--label", fact.LabelPart + "=" + c.Part, name}
}

// Differs names what of a container isn't as c wants it.
func (c Container) Differs(is fact.Container) []string {
	sorted := func(values []string, change func(string) string) []string {
		out := make([]string, len(values))
		for i, v := range values {
			out[i] = change(v)
		}
		slices.Sort(out)
		return out
	}
	bind := func(v string) string { return strings.TrimSuffix(v, ":rw") } // Ansible writes it out
	capability := func(v string) string { return strings.TrimPrefix(v, "CAP_") }
	var names []string
	for _, part := range []struct {
		name string
		same bool
	}{
		{"name", is.Name == "/"+c.Name},
		{"image", is.Config.Labels[fact.LabelImage] == c.Image.ID},
		{"certificate authority", c.CA == "" || is.Config.Labels[fact.LabelCA] == c.CA},
		{"command", slices.Equal(is.Config.Cmd, c.Cmd)},
		// The image's own variables are among them.
		{"environment", !slices.ContainsFunc(c.Env, func(v string) bool { return !slices.Contains(is.Config.Env, v) })},
		{"volumes", slices.Equal(sorted(is.HostConfig.Binds, bind), sorted(c.Volumes, bind))},
		{"capabilities", slices.Equal(sorted(is.HostConfig.CapAdd, capability), sorted(c.Caps, capability))},
		{"seccomp profile", slices.Contains(is.HostConfig.SecurityOpt, "seccomp=unconfined") != c.Seccomp},
		{"system paths", (len(is.HostConfig.MaskedPaths) == 0) == c.SysWrite},
		{"network", is.HostConfig.NetworkMode == c.Network},
		{"host name", c.Hostname == "" || is.Config.Hostname == c.Hostname},
		{"restart policy", is.HostConfig.RestartPolicy.Name == "unless-stopped"},
		{"init", is.HostConfig.Init == c.Init},
		{"stop timeout", is.Config.StopTimeout == c.Grace},
	} {
		if !part.same {
			names = append(names, part.name)
		}
	}
	return names
}

// Of are the containers on a machine that are c, or in its place.
func (c Container) Of(d fact.Docker) []fact.Container {
	all := d.Part(c.Part)
	if c.Several {
		all = slices.DeleteFunc(all, func(is fact.Container) bool { return is.Name != "/"+c.Name })
	}
	return all
}

// Runs says whether a container of c's part runs, whatever else is wrong with it.
func (c Container) Runs(d fact.Docker) bool {
	return slices.ContainsFunc(c.Of(d), func(is fact.Container) bool { return is.State.Status == "running" })
}

// Started is when the container of c's part that runs was started, by its machine's clock; ok is false where none runs.
func (c Container) Started(d fact.Docker) (at time.Time, ok bool) {
	for _, is := range d.Part(c.Part) {
		if is.State.Status == "running" {
			at, err := time.Parse(time.RFC3339Nano, is.State.StartedAt)
			return at, err == nil
		}
	}
	return time.Time{}, false
}

// Faults says what keeps the container from being there as it should, "" where nothing does. running says whether it has
// to run as well.
func (c Container) Faults(d fact.Docker, running bool) string {
	all := c.Of(d)
	if len(all) == 0 {
		return "there is no container " + c.Name
	}
	for _, is := range all {
		if other := c.Differs(is); len(other) > 0 {
			return "container " + strings.TrimPrefix(is.Name, "/") + " has another " + strings.Join(other, ", ")
		}
		if running && is.State.Status != "running" {
			return "container " + c.Name + " is " + is.State.Status
		}
	}
	return ""
}

package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"text/template"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/templates"
)

// mirrorVariable names a mirror of Debian's packages; the one of the security updates after it, with a space between, where it
// isn't called the same with -security.
const mirrorVariable = "LAB_DEBIAN_MIRROR"

// mirror serves Debian's packages. An empty one is Debian's own, as templates/debian.list.tmpl has it.
type mirror struct {
	archive, security string // URLs
	from              string // who says so, for people
}

// sources are what trees are made from and have in their /etc/apt: lines of sources.list(5), whoever serves the packages.
func (d Debian) sources() ([]string, error) {
	t, err := template.ParseFS(templates.FS, "debian.list.tmpl")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if err := t.Execute(&b, struct{ Keyring, Release string }{DebianKeyring, d.Release}); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(b.String()), "\n"), nil
}

// serve returns sources with the mirror in place of Debian's own.
func (m mirror) serve(sources []string) []string {
	var served []string
	for _, line := range sources {
		f := strings.Fields(line) // deb [options] URL suite component
		own := m.archive
		if strings.HasSuffix(f[3], "-security") {
			own = m.security
		}
		if own != "" {
			f[2] = own
		}
		served = append(served, strings.Join(f, " "))
	}
	return served
}

// findMirror returns the mirror to use: the one that the user names, else this computer's own where it is a Debian computer,
// else Debian's.
func (d Debian) findMirror(ctx context.Context, getenv func(string) string) (mirror, error) {
	if text := getenv(mirrorVariable); text != "" {
		return namedMirror(text)
	}
	system, err := os.ReadFile("/etc/os-release")
	if err != nil || !strings.Contains("\n"+string(system), "\nID=debian\n") {
		return mirror{}, nil // Ubuntu's apt knows no mirror of Debian's
	}
	out, err := d.Run.Output(ctx, "apt-get", "indextargets", "Created-By: Packages")
	return aptMirror(out), err
}

func namedMirror(text string) (mirror, error) {
	urls := strings.Fields(text)
	for _, text := range urls {
		if u, err := url.Parse(text); err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" || len(urls) > 2 {
			return mirror{}, fmt.Errorf("%s has to be the URL of a mirror of Debian's packages, such as http://HOST/debian, and after a space that of its "+
				"security updates, if it isn't http://HOST/debian-security", mirrorVariable)
		}
	}
	m := mirror{archive: strings.TrimSuffix(urls[0], "/"), from: mirrorVariable}
	m.security = m.archive + "-security"
	if len(urls) == 2 {
		m.security = strings.TrimSuffix(urls[1], "/")
	}
	return m, nil
}

// aptMirror finds the mirror of Debian in what `apt-get indextargets` prints, which has read every file of apt's configuration,
// of the old form and the new. Where no list has been fetched yet it doesn't say whose the packages are; Debian's have
// updates beside them.
func aptMirror(targets string) mirror {
	var m mirror
	for paragraph := range strings.SplitSeq(targets, "\n\n") {
		field := map[string]string{}
		for line := range strings.Lines(paragraph) {
			name, value, _ := strings.Cut(line, ": ")
			field[name] = strings.TrimSpace(value)
		}
		at := strings.TrimSuffix(field["Repo-URI"], "/")
		if field["Component"] != "main" || field["Origin"] != "Debian" && field["Origin"] != "" || at == "" || strings.HasPrefix(at, "cdrom:") {
			continue
		}
		_, kind, _ := strings.Cut(field["Release"], "-")
		switch {
		case m.security == "" && kind == "security":
			m.security = at
		case m.archive == "" && (kind == "updates" || kind == "" && field["Origin"] == "Debian"):
			m.archive = at
		}
	}
	if m.archive == "" {
		return mirror{}
	}
	m.from = "this computer's apt configuration"
	return m
}

// explain says of a failed bootstrap what is wrong and what to do.
func (d Debian) explain(err error, m mirror) error {
	var failed *command.Error
	if !errors.As(err, &failed) || failed.Status < 0 {
		return err
	}
	at := "Debian's own mirror"
	if u, perr := url.Parse(m.archive); perr == nil && m.archive != "" {
		at = fmt.Sprintf("the mirror %s (from %s)", u.Redacted(), m.from)
	}
	hint := fmt.Sprintf("check that %s can be reached, or name another one: %s=http://HOST/debian", at, mirrorVariable)
	switch {
	case strings.Contains(failed.Stderr, "does not have a Release file"):
		hint = fmt.Sprintf("%s has no release %q: correct versions.debian in lab.yaml, or name another mirror: %s=http://HOST/debian", at, d.Release, mirrorVariable)
	case strings.Contains(failed.Stderr, "NO_PUBKEY"):
		hint = fmt.Sprintf("%s is signed by a key that this computer doesn't know: install a newer debian-archive-keyring, or choose an older release (versions.debian in lab.yaml)", at)
	case strings.Contains(failed.Stderr, "Unable to locate package"):
		hint = fmt.Sprintf("release %q lacks a package that the lab needs; use another (versions.debian in lab.yaml)", d.Release)
	}
	return fmt.Errorf("%w\n  what to do: %s", err, hint)
}

// aptProxies are the proxies of apt's own configuration, as variables; those of the environment come before them.
func (d Debian) aptProxies(ctx context.Context) []string {
	var env []string
	for _, scheme := range []string{"http", "https"} {
		name := scheme + "_proxy"
		if os.Getenv(name) != "" || os.Getenv(strings.ToUpper(name)) != "" {
			continue
		}
		out, err := d.Run.Output(ctx, "apt-config", "dump", "--format", "%v%n", "Acquire::"+scheme+"::Proxy")
		if err == nil && strings.Contains(out, "://") {
			env = append(env, name+"="+out)
		}
	}
	return env
}

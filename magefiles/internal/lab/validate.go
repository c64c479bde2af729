package lab

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"github.com/hashicorp/go-version"
)

var (
	// RFC 1123, section 2.1: one label of a host name.
	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	// Kubernetes' form of an object name, which Calico asks of a pool.
	objectName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)
	releaseName = regexp.MustCompile(`^[a-z]+$`)
	goRelease   = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	boxName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)
	// What becomes a word of ssh_config and of command lines that are shown to be typed.
	sshAddress = regexp.MustCompile(`^[A-Za-z0-9:][A-Za-z0-9_.:%-]*$`)
	sshUser    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@\\+$-]*$`)
	// What YAML 1.1 takes for something else than text where it isn't in quotes: the Vagrantfile's Ruby reads lab.yaml by that,
	// where a machine named no is false, and 010 is eight (https://yaml.org/type/).
	notText = regexp.MustCompile(`(?i)^(yes|no|on|off|true|false|null|[-+]?[0-9][0-9_,]*(\.[0-9_,]*)?(e[-+]?[0-9]+)?|0[xob][0-9a-f_]+|[0-9]+(:[0-9]+)+(\.[0-9]*)?|[0-9]{4}-[0-9]+-[0-9]+)$`)
)

const (
	// IFNAMSIZ is 16 with the final zero, and the machine's end of the underlay is named vb-MACHINE.
	maxMachineName = 12
	// What etcd's makers recommend at most: each write waits for a majority.
	maxMembers = 5
	// More than a computer boots, and than anybody wants to look at.
	maxCount = 1000
	// The SSH socket's path holds the lab's and a machine's name, and sun_path ends at 107 bytes.
	maxLabName = 30
	// Calico's limits for IPv4: libcalico-go/lib/validator.
	minBlockSize, maxBlockSize = 20, 32
	// A kernel with Docker doesn't boot in less; more than a TB is a slip.
	minMemory, maxMemory = 192, 1 << 20 // MB
)

// Docker makes its own bridge on every machine; an underlay or a pool there would lose its packets to it.
var dockerBridge = netip.MustParsePrefix("172.17.0.0/16")

// validator collects everything that is wrong.
type validator struct {
	sources []source
	found   []found
}

// found is something that is wrong, with its line as it is counted on from file to file.
type found struct {
	line int
	text string
}

func (v *validator) fault(line int, format string, args ...any) {
	v.found = append(v.found, found{line, fmt.Sprintf(format, args...)})
}

// faults are in the order of the files, and of the lines.
func (v *validator) faults() (all []Fault) {
	slices.SortStableFunc(v.found, func(a, b found) int { return cmp.Compare(a.line, b.line) })
	for _, f := range v.found {
		s, line := v.at(f.line)
		all = append(all, Fault{s.name, line, f.text})
	}
	return slices.Compact(all)
}

// have reports a missing value as a fault, and returns whether it is there. near are its neighbours, for a line to name.
func (v *validator) have(s scalar, key string, near ...scalar) bool {
	if s.bad {
		return false
	}
	if s.Value == "" {
		line := s.Line
		for _, n := range near {
			line = cmp.Or(line, n.Line)
		}
		v.fault(line, "%s is missing", key)
	}
	return s.Value != ""
}

func (v *validator) lab(raw *rawLab) *Lab {
	l := &Lab{}
	l.Name = v.name(raw.Name, "name", hostName, maxLabName)
	l.Subnet = v.prefix(raw.Underlay.Subnet, "underlay.subnet")
	if l.Subnet.IsValid() && l.Subnet.Bits() > 29 {
		v.fault(raw.Underlay.Subnet.Line, "underlay.subnet %s is too small: three machines and a gateway need a /29", l.Subnet)
	}
	v.clash(raw.Underlay.Subnet.Line, "underlay.subnet", l.Subnet, "Docker's own bridge on every machine", dockerBridge)
	v.machines(raw, l)
	l.Network = v.name(raw.Network, "network", objectName, 63)
	v.bgp(&raw.BGP, l)
	v.routers(raw, l)
	v.pool(&raw.Pool, l)
	v.plugins(&raw.Plugins, l)
	v.versions(&raw.Versions, l)
	if v.text(raw.Bundle, "bundle"); raw.Bundle.Value != "" && !raw.Bundle.bad {
		l.Bundle = v.place(raw.Bundle)
	}
	v.vagrant(&raw.Vagrant, l)
	v.allowed(&raw.Allowed, l)
	return l
}

func (v *validator) versions(raw *rawVersions, l *Lab) {
	if v.have(raw.Debian, "versions.debian", raw.Go) {
		l.Versions.Debian = raw.Debian.Value
		if !releaseName.MatchString(l.Versions.Debian) {
			v.fault(raw.Debian.Line, "versions.debian %q is not a release name; write for example: bookworm", l.Versions.Debian)
		}
	}
	if v.have(raw.Go, "versions.go", raw.Debian) {
		gv, err := version.NewVersion(raw.Go.Value)
		if err != nil || !goRelease.MatchString(raw.Go.Value) {
			v.fault(raw.Go.Line, "versions.go %q is not a Go release; write for example: 1.26.8", raw.Go.Value)
		}
		l.Versions.Go = gv
	}
	if l.Versions.Source = Compile; raw.Source.Value != "" && !raw.Source.bad {
		if l.Versions.Source = raw.Source.Value; l.Versions.Source != Compile && l.Versions.Source != Release {
			v.fault(raw.Source.Line, "versions.source %q is neither %s nor %s", raw.Source.Value, Compile, Release)
		}
	}
}

func (v *validator) allowed(raw *rawAllowed, l *Lab) {
	l.Allowed = map[string]version.Constraints{}
	for name, s := range map[string]scalar{
		"calico": raw.Calico, "etcd": raw.Etcd, "cnitool": raw.Cnitool, "plugins": raw.Plugins, "go": raw.Go, "mage": raw.Mage,
	} {
		if c := v.constraint(s, "allowed."+name); c != nil {
			l.Allowed[name] = c
		}
	}
}

func (v *validator) name(s scalar, key string, form *regexp.Regexp, limit int, near ...scalar) string {
	if !v.have(s, key, near...) {
		return ""
	}
	switch {
	case !form.MatchString(s.Value):
		v.fault(s.Line, "%s %q: only lower-case letters, digits%s and hyphens, and none of those at an end", key, s.Value, map[bool]string{true: ", dots"}[form == objectName])
	case len(s.Value) > limit:
		v.fault(s.Line, "%s %q is %d characters long; at most %d fit", key, s.Value, len(s.Value), limit)
	}
	v.text(s, key)
	return s.Value
}

// text reports what only this program takes for text.
func (v *validator) text(s scalar, key string) {
	if s.plain && notText.MatchString(s.Value) {
		v.fault(s.Line, "%s: YAML may take %s for something else than text; write \"%s\"", key, s.Value, s.Value)
	}
}

func (v *validator) prefix(s scalar, key string, near ...scalar) netip.Prefix {
	if !v.have(s, key, near...) {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s.Value)
	switch {
	case err != nil || !p.Addr().Is4():
		v.fault(s.Line, "%s %q is not an IPv4 network; write for example: 192.168.4.0/24", key, s.Value)
		return netip.Prefix{}
	case p != p.Masked():
		v.fault(s.Line, "%s %s has host bits; the network is %s", key, p, p.Masked())
	case !p.Addr().IsPrivate():
		v.fault(s.Line, "%s %s is not a private network (RFC 1918)", key, p)
	}
	return p.Masked()
}

func (v *validator) clash(line int, key string, p netip.Prefix, other string, q netip.Prefix) {
	if p.IsValid() && q.IsValid() && p.Overlaps(q) {
		v.fault(line, "%s %s overlaps %s, %s", key, p, q, other)
	}
}

func (v *validator) bool(s scalar, key string) bool {
	if s.Value == "" || s.bad {
		return false
	}
	if s.Value != "true" && s.Value != "false" {
		v.fault(s.Line, "%s %q: expected true or false", key, s.Value)
	}
	return s.Value == "true"
}

// number reads a number that may be left out.
func (v *validator) number(s scalar, key string, without, low, high int, unit string) int {
	if s.Value == "" || s.bad {
		return without
	}
	n, err := strconv.Atoi(s.Value)
	if err != nil || strconv.Itoa(n) != s.Value || n < low || n > high {
		v.fault(s.Line, "%s %q: expected %s from %d to %d", key, s.Value, unit, low, high)
		return without
	}
	return n
}

var (
	// Kubernetes' forms, which Calico asks of labels (k8s.io/apimachinery, IsQualifiedName and IsValidLabelValue).
	labelName  = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9]$`)
	labelValue = regexp.MustCompile(`^(([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9])?$`)
	labelHost  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

func (v *validator) vagrant(raw *rawVagrant, l *Lab) {
	l.Vagrant = Vagrant{
		Box: cmp.Or(raw.Box.Value, OwnBox), BoxVersion: raw.BoxVersion.Value,
		Version:    v.constraint(raw.Version, "vagrant.version"),
		Libvirt:    v.constraint(raw.Libvirt, "vagrant.libvirt"),
		VirtualBox: v.constraint(raw.VirtualBox, "vagrant.virtualbox"),
	}
	if b := raw.Box; b.Value != "" && !boxName.MatchString(b.Value) {
		v.fault(b.Line, "vagrant.box %q: only letters, digits, dots, slashes, hyphens and underscores", b.Value)
	}
	v.text(raw.Box, "vagrant.box")
	v.text(raw.BoxVersion, "vagrant.boxVersion")
	v.constraint(raw.BoxVersion, "vagrant.boxVersion")
	if l.Vagrant.Box == OwnBox && l.Vagrant.BoxVersion != "" {
		v.fault(raw.BoxVersion.Line, "vagrant.boxVersion is for public boxes; the newest of the lab's own is always taken")
	}
}

// constraint reads a constraint on versions that may be left out.
func (v *validator) constraint(s scalar, key string) version.Constraints {
	if s.Value == "" || s.bad {
		return nil
	}
	c, err := version.NewConstraint(s.Value)
	if err != nil {
		v.fault(s.Line, "%s %q is not a constraint on versions; write for example: \">= 2.3.4, < 3\"", key, s.Value)
	}
	return c
}

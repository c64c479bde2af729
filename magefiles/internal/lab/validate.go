package lab

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-version"
	"golang.org/x/crypto/ssh"

	"github.com/calico-cni-lab/lab/magefiles/internal/nearest"
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
	faults []Fault
	last   int // line of the file
}

func (v *validator) fault(line int, format string, args ...any) {
	// What isn't there has no line, and to YAML what is missing at the end of a file is behind it.
	v.faults = append(v.faults, Fault{min(max(line, 1), v.last), fmt.Sprintf(format, args...)})
}

func (v *validator) sorted() []Fault {
	slices.SortStableFunc(v.faults, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	return slices.Compact(v.faults)
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
	v.pool(&raw.Pool, l)
	v.versions(&raw.Versions, l)
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

// taken are the lines of names and addresses that a machine has already.
type taken struct {
	names     map[string]int
	addresses map[netip.Addr]int
}

func (v *validator) machines(raw *rawLab, l *Lab) {
	have := taken{map[string]int{}, map[netip.Addr]int{}}
	count := map[Role]int{}
	for i, rm := range raw.Machines {
		for _, m := range v.machine(rm, fmt.Sprintf("machines[%d].", i), l.Subnet, have) {
			count[m.Role]++
			l.Machines = append(l.Machines, m)
		}
	}
	line := 0
	if len(raw.Machines) > 0 {
		line = raw.Machines[0].Name.Line
	}
	if count[RoleEtcd] != 1 {
		v.fault(line, "machines: there are %d with role etcd; the lab has exactly one", count[RoleEtcd])
	}
	if count[RoleCalico] < 2 {
		v.fault(line, "machines: there are %d with role calico; routing between machines needs two", count[RoleCalico])
	}
}

// machine is one entry's machine, or as many as its count says: calico makes calico1, calico2, ..., their addresses counted up.
func (v *validator) machine(rm rawMachine, key string, subnet netip.Prefix, have taken) []Machine {
	like := Machine{Name: v.name(rm.Name, key+"name", hostName, maxMachineName, rm.Role, rm.Address), Role: Role(rm.Role.Value)}
	if v.have(rm.Role, key+"role", rm.Name, rm.Address) && like.Role != RoleEtcd && like.Role != RoleCalico {
		v.fault(rm.Role.Line, "role %q of %s: expected %s or %s", like.Role, like.Name, RoleEtcd, RoleCalico)
	}
	count := v.number(rm.Count, key+"count", 0, 1, maxCount, "a number of machines")
	like.Address = v.parseAddress(rm, key+"address")
	like.Memory = v.number(rm.Memory, key+"memory", defaultMemory, minMemory, maxMemory, "a number of MB")
	like.CPUs = v.number(rm.CPUs, key+"cpus", defaultCPUs, 1, 64, "a number of CPUs")
	like.SSH = v.ssh(&rm.SSH, key+"ssh.")
	like.Workloads = v.workloads(&rm, key+"workloads.", like.Role)
	if count > 0 && like.Name != "" {
		v.counted(rm, key, like, count)
	}
	var all []Machine
	fits := true // of those that don't one line says it
	for n := range max(count, 1) {
		m := like
		if count > 0 && like.Name != "" {
			m.Name = fmt.Sprint(like.Name, n+1)
		}
		if first, dup := have.names[m.Name]; dup && m.Name != "" {
			v.fault(rm.Name.Line, "machine %q: duplicate of line %d", m.Name, first)
		} else {
			have.names[m.Name] = rm.Name.Line
		}
		fits = fits && (!m.Address.IsValid() || v.address(rm.Address.Line, m, count, subnet, have.addresses))
		all = append(all, m)
		like.Address = m.Address.Next()
	}
	return all
}

// counted reports what can't be said of several machines at once.
func (v *validator) counted(rm rawMachine, key string, like Machine, count int) {
	if base := strings.TrimRight(like.Name, "0123456789"); base != like.Name {
		v.fault(rm.Name.Line, "%sname %q with count: the machines would be %[2]s1, %[2]s2, ...; write for example: %s", key, like.Name, cmp.Or(base, "calico"))
	} else if last := fmt.Sprint(like.Name, count); len(like.Name) <= maxMachineName && len(last) > maxMachineName {
		v.fault(rm.Name.Line, "%sname %q: the last of %d machines, %s, would have a name of %d characters; at most %d fit", key, like.Name, count, last, len(last), maxMachineName)
	}
	for _, one := range []struct {
		name string
		scalar
	}{{"address", rm.SSH.Address}, {"hostKey", rm.SSH.HostKey}} {
		if one.Value != "" && count > 1 {
			v.fault(one.Line, "%sssh.%s is one machine's, and count makes %d; leave it out, or write the machines one by one", key, one.name, count)
		}
	}
}

func (v *validator) parseAddress(rm rawMachine, key string) netip.Addr {
	s := rm.Address
	if !v.have(s, key, rm.Name, rm.Role) {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s.Value)
	if err != nil || !a.Is4() {
		v.fault(s.Line, "%s %q is not an IPv4 address", key, s.Value)
		return netip.Addr{}
	}
	return a
}

// address reports what is wrong with a machine's address; count is that of its entry, 0 where it has none.
func (v *validator) address(line int, m Machine, count int, subnet netip.Prefix, have map[netip.Addr]int) bool {
	a, whose := m.Address, ""
	if count > 0 {
		whose = " of " + m.Name
	}
	first, dup := have[a]
	if !dup {
		have[a] = line
	}
	before := len(v.faults)
	switch {
	case dup:
		v.fault(line, "address %s%s: duplicate of line %d", a, whose, first)
	case !subnet.IsValid():
	case !subnet.Contains(a):
		v.fault(line, "address %s%s is outside of underlay.subnet %s", a, whose, subnet)
	case a == subnet.Addr() || !subnet.Contains(a.Next()):
		v.fault(line, "address %s%s is the network's or the broadcast address of %s", a, whose, subnet)
	case a == gateway(subnet):
		v.fault(line, "address %s%s is the underlay's gateway, always the first of %s", a, whose, subnet)
	}
	if len(v.faults) == before {
		return true
	}
	if count > 0 {
		v.faults[len(v.faults)-1].Text += fmt.Sprintf("; addresses are counted up, so %d machines need as many free ones in a row", count)
	}
	return false
}

func (v *validator) bgp(raw *rawBGP, l *Lab) {
	l.BGP.AS = v.asNumber(raw.AS)
	seen := map[string]int{}
	for _, s := range raw.Reflectors {
		m, ok := l.Machine(s.Value)
		switch {
		case s.bad:
		case seen[s.Value] > 0:
			v.fault(s.Line, "bgp.reflectors: %s: duplicate of line %d", s.Value, seen[s.Value])
		case !ok:
			near := "; there are " + strings.Join(l.nodes(), ", ")
			if names := nearest.Of(s.Value, l.nodes()); len(names) > 0 {
				near = fmt.Sprintf("; did you mean %q?", names[0])
			}
			v.fault(s.Line, "bgp.reflectors: there is no machine %q%s", s.Value, near)
		case m.Role != RoleCalico:
			v.fault(s.Line, "bgp.reflectors: %s has role %s; only machines with role %s speak BGP", s.Value, m.Role, RoleCalico)
		}
		seen[s.Value] = s.Line
		l.BGP.Reflectors = append(l.BGP.Reflectors, s.Value)
	}
	l.BGP.Mesh = len(raw.Reflectors) == 0
	if raw.Mesh.Value != "" {
		l.BGP.Mesh = v.bool(raw.Mesh, "bgp.mesh")
	}
	if !l.BGP.Mesh && len(raw.Reflectors) == 0 && !raw.Mesh.bad {
		v.fault(raw.Mesh.Line, "bgp.mesh false: no node would have a BGP session, and no workload would reach another node; name reflectors, such as bgp.reflectors: [%s]", cmp.Or(strings.Join(l.nodes()[:min(1, len(l.nodes()))], ""), "calico1"))
	}
}

// nodes are the names of the machines that speak BGP.
func (l *Lab) nodes() (names []string) {
	for _, m := range l.ByRole(RoleCalico) {
		names = append(names, m.Name)
	}
	return names
}

// reservedAS are numbers that no network has (https://www.iana.org/assignments/iana-as-numbers-special-registry).
var reservedAS = []uint32{0, 23456, 65535, 4294967295}

func (v *validator) asNumber(s scalar) uint32 {
	if s.Value == "" || s.bad {
		return 0
	}
	n, err := strconv.ParseUint(s.Value, 10, 32)
	if err != nil || strconv.FormatUint(n, 10) != s.Value {
		v.fault(s.Line, "bgp.asNumber %q: expected a number from 1 to 4294967294; the private ones are 64512 to 65534 and 4200000000 to 4294967294", s.Value)
		return 0
	}
	if slices.Contains(reservedAS, uint32(n)) {
		v.fault(s.Line, "bgp.asNumber %d is reserved; write a private one, from 64512 to 65534 or from 4200000000 to 4294967294", n)
	}
	return uint32(n)
}

func (v *validator) pool(raw *rawPool, l *Lab) {
	p := &l.Pool
	p.Name = v.name(raw.Name, "pool.name", objectName, 253, raw.CIDR)
	p.CIDR = v.prefix(raw.CIDR, "pool.cidr", raw.Name)
	v.clash(raw.CIDR.Line, "pool.cidr", p.CIDR, "the underlay", l.Subnet)
	v.clash(raw.CIDR.Line, "pool.cidr", p.CIDR, "Docker's own bridge on every machine", dockerBridge)
	if v.have(raw.BlockSize, "pool.blockSize", raw.CIDR, raw.Name) {
		p.BlockSize = v.blockSize(raw.BlockSize, p.CIDR, l.ByRole(RoleCalico))
	}
	p.IPIPMode = raw.IPIPMode.Value
	// An IPIP pool needs Calico's fork of BIRD (the krt_tunnel attribute); the lab's image has Debian's.
	if v.have(raw.IPIPMode, "pool.ipipMode", raw.CIDR, raw.Name) && p.IPIPMode != "Never" {
		v.fault(raw.IPIPMode.Line, "pool.ipipMode %q: the lab's image can only do Never; see docs/differences.md", p.IPIPMode)
	}
	p.VXLANMode = cmp.Or(raw.VXLANMode.Value, VXLANNever)
	if modes := []string{VXLANNever, VXLANAlways, VXLANCrossSubnet}; !raw.VXLANMode.bad && !slices.Contains(modes, p.VXLANMode) {
		v.fault(raw.VXLANMode.Line, "pool.vxlanMode %q: expected one of: %s", p.VXLANMode, strings.Join(modes, ", "))
	}
	p.NATOutgoing = v.bool(raw.NATOutgoing, "pool.natOutgoing")
	p.Disabled = v.bool(raw.Disabled, "pool.disabled")
	if p.Disabled {
		v.fault(raw.Disabled.Line, "pool.disabled true: no workload could get an address")
	}
}

// maxBlocks is how many blocks Calico lets a node have where nobody says otherwise (libcalico-go/lib/ipam, MaxBlocksPerHost).
const maxBlocks = 20

// blockSize reads the size of the pool's blocks. Each node needs enough of its own: one that finds none left has to borrow
// single addresses from other nodes' blocks, and then routes are no longer one for each block.
func (v *validator) blockSize(s scalar, pool netip.Prefix, nodes []Machine) int {
	n, err := strconv.Atoi(s.Value)
	if err != nil || strconv.Itoa(n) != s.Value || n < minBlockSize || n > maxBlockSize {
		v.fault(s.Line, "pool.blockSize %q: expected a prefix length from %d to %d", s.Value, minBlockSize, maxBlockSize)
		return n
	}
	if !pool.IsValid() {
		return n
	}
	if n < pool.Bits() {
		v.fault(s.Line, "pool.blockSize %d: a block would be larger than the pool %s", n, pool)
		return n
	}
	blocks, needed := 1<<(n-pool.Bits()), 0
	for _, m := range nodes {
		own := max(1, (m.Workloads.Count+1<<(32-n)-1)>>(32-n))
		if needed += own; own > maxBlocks {
			v.fault(s.Line, "pool.blockSize %d: the %d workloads of %s would take %d blocks, and Calico gives a node %d; write %d or less",
				n, m.Workloads.Count, m.Name, own, maxBlocks, 32-bits.Len(uint((m.Workloads.Count-1)/maxBlocks)))
			return n
		}
	}
	of := fmt.Sprintf("for %d Calico nodes, and each needs one", len(nodes))
	if needed > len(nodes) {
		of = fmt.Sprintf("and the workloads of %d Calico nodes need %d", len(nodes), needed)
	}
	if blocks < needed {
		enough := pool.Bits() + bits.Len(uint(needed-1)) // the least n with 2^(n-pool.Bits()) >= needed
		remedy := "write a larger pool.cidr"
		if enough <= maxBlockSize && needed == len(nodes) {
			remedy = fmt.Sprintf("write %d or more, or a larger pool.cidr", enough)
		}
		plural := "s"
		if blocks == 1 {
			plural = ""
		}
		v.fault(s.Line, "pool.blockSize %d makes %d block%s of %s %s; %s", n, blocks, plural, pool, of, remedy)
	}
	return n
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

func (v *validator) ssh(raw *rawSSH, key string) SSH {
	s := SSH{
		Address: raw.Address.Value, User: raw.User.Value, Key: raw.Key.Value, HostKey: raw.HostKey.Value,
		Port: v.number(raw.Port, key+"port", 0, 1, 65535, "a TCP port"),
	}
	if s.Address != "" && !sshAddress.MatchString(s.Address) {
		v.fault(raw.Address.Line, "%saddress %q is neither a host name nor an address", key, s.Address)
	}
	if s.User != "" && !sshUser.MatchString(s.User) {
		v.fault(raw.User.Line, "%suser %q can't be a user's name", key, s.User)
	}
	if strings.ContainsFunc(s.Key, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) || strings.Contains(s.Key, "${") {
		v.fault(raw.Key.Line, "%skey %q: OpenSSH takes no such file name", key, s.Key)
	}
	if s.HostKey != "" {
		if _, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(s.HostKey)); err != nil || len(rest) > 0 {
			v.fault(raw.HostKey.Line, "%shostKey is not a public key; write it as ssh-keyscan prints it, without the name: ssh-ed25519 AAAA...", key)
		}
	}
	return s
}

func (v *validator) workloads(rm *rawMachine, key string, r Role) Workloads {
	raw := rm.Workloads
	if r != RoleCalico {
		if line := cmp.Or(raw.Count.Line, firstLine(raw.Labels)); line > 0 {
			v.fault(line, "%s: only machines with role %s have workloads", strings.TrimSuffix(key, "."), RoleCalico)
		}
		return Workloads{}
	}
	w := Workloads{Count: v.number(raw.Count, key+"count", defaultWorkloads, 0, maxWorkloads, "a number of workloads")}
	for _, name := range slices.Sorted(maps.Keys(raw.Labels)) {
		value := raw.Labels[name]
		if value.bad {
			continue
		}
		for _, fault := range labelFaults(name, value.Value) {
			v.fault(value.Line, "%slabels: %s", key, fault)
		}
		if w.Labels == nil {
			w.Labels = map[string]string{}
		}
		w.Labels[name] = value.Value
	}
	return w
}

func firstLine(all map[string]scalar) (line int) {
	for _, s := range all {
		if line == 0 || s.Line < line {
			line = s.Line
		}
	}
	return line
}

var (
	// Kubernetes' forms, which Calico asks of labels (k8s.io/apimachinery, IsQualifiedName and IsValidLabelValue).
	labelName  = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9]$`)
	labelValue = regexp.MustCompile(`^(([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9])?$`)
	labelHost  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

const maxLabel, maxLabelHost = 63, 253

// labelFaults says why Calico would refuse a label.
func labelFaults(name, value string) (faults []string) {
	host, rest, prefixed := strings.Cut(name, "/")
	if !prefixed {
		host, rest = "", name
	}
	if !labelName.MatchString(rest) || len(rest) > maxLabel || prefixed && (!labelHost.MatchString(host) || len(host) > maxLabelHost) {
		faults = append(faults, fmt.Sprintf("Calico takes no label %q; write letters, digits, dots, hyphens and underscores, %d at most, and none of the last three at an end", name, maxLabel))
	}
	if host == "projectcalico.org" || strings.HasSuffix(host, ".projectcalico.org") {
		faults = append(faults, fmt.Sprintf("label %q is Calico's own, which says by it what a workload is; write another one", name))
	}
	if !labelValue.MatchString(value) || len(value) > maxLabel {
		faults = append(faults, fmt.Sprintf("Calico takes no label's value %q; write letters, digits, dots, hyphens and underscores, %d at most, and none of the last three at an end", value, maxLabel))
	}
	return faults
}

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

package lab

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

// taken are the lines of names and addresses that a machine has already.
type taken struct {
	names     map[string]int
	addresses map[netip.Addr]int
}

func (v *validator) machines(raw *rawLab, l *Lab) {
	have := taken{map[string]int{}, map[netip.Addr]int{}}
	count := map[Role]int{}
	v.behind(raw, l)
	for i, rm := range raw.Machines {
		for _, m := range v.machine(rm, fmt.Sprintf("machines[%d].", i), l.Underlay, have) {
			count[m.Role]++
			l.Machines = append(l.Machines, m)
		}
	}
	line := 0
	if len(raw.Machines) > 0 {
		line = raw.Machines[0].Name.Line
	}
	if n := count[RoleEtcd]; n == 0 || n > maxMembers {
		v.fault(line, "machines: there are %d with role etcd; expected 1, 3 or %d", n, maxMembers)
	} else if n%2 == 0 {
		v.fault(line, "machines: there are %d with role etcd; expected 1, 3 or %d: of %[1]d members etcd needs %[3]d, so %[1]d bear the loss of no more members than %[4]d do", n, maxMembers, n/2+1, n-1)
	}
	if count[RoleCalico] < 2 {
		v.fault(line, "machines: there are %d with role calico; routing between machines needs two", count[RoleCalico])
	}
}

// behind reads the subnet behind a router. Of several the first counts; routers says that there can be but one.
func (v *validator) behind(raw *rawLab, l *Lab) {
	for i, rm := range raw.Machines {
		s, key := rm.Behind, fmt.Sprintf("machines[%d].behind", i)
		if s.Value == "" || s.bad {
			continue
		}
		subnet := v.prefix(s, key)
		router, err := netip.ParseAddr(rm.Address.Value)
		switch {
		case rm.Role.Value != string(RoleRouter):
			v.fault(s.Line, "%s: only a machine with role %s leads to another subnet", key, RoleRouter)
		case subnet.IsValid() && subnet.Bits() > 30:
			v.fault(s.Line, "%s %s is too small: the router and a machine need a /30", key, subnet)
		case err == nil && l.Subnet.IsValid() && !l.Subnet.Contains(router):
			v.fault(rm.Address.Line, "address %s: a router that leads to a subnet is itself in underlay.subnet %s", router, l.Subnet)
		}
		v.clash(s.Line, key, subnet, "underlay.subnet", l.Subnet)
		v.clash(s.Line, key, subnet, "Docker's own bridge on every machine", dockerBridge)
		if !l.Behind.IsValid() {
			l.Behind, l.Router = subnet, router
		}
	}
}

// machine is one entry's machine, or as many as its count says: calico makes calico1, calico2, ..., their addresses counted up.
func (v *validator) machine(rm rawMachine, key string, underlay Underlay, have taken) []Machine {
	like := Machine{Name: v.name(rm.Name, key+"name", hostName, maxMachineName, rm.Role, rm.Address), Role: Role(rm.Role.Value)}
	if v.have(rm.Role, key+"role", rm.Name, rm.Address) && !slices.Contains(roles, like.Role) {
		v.fault(rm.Role.Line, "role %q of %s: expected %s, %s or %s", like.Role, like.Name, RoleEtcd, RoleCalico, RoleRouter)
	}
	count := v.number(rm.Count, key+"count", 0, 1, maxCount, "a number of machines")
	like.Address = v.parseAddress(rm, key+"address")
	like.Memory = v.number(rm.Memory, key+"memory", defaultMemory, minMemory, maxMemory, "a number of MB")
	like.CPUs = v.number(rm.CPUs, key+"cpus", defaultCPUs, 1, 64, "a number of CPUs")
	like.SSH = v.ssh(&rm.SSH, key+"ssh.")
	like.Workloads = v.workloads(&rm, key+"workloads.", like.Role)
	like.AS = v.routerAS(&rm, key+"asNumber")
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
			v.fault(rm.Name.Line, "machine %q: duplicate of line %d", m.Name, v.line(first))
		} else {
			have.names[m.Name] = rm.Name.Line
		}
		fits = fits && (!m.Address.IsValid() || v.address(rm.Address.Line, m, count, underlay, have.addresses))
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
func (v *validator) address(line int, m Machine, count int, underlay Underlay, have map[netip.Addr]int) bool {
	a, whose := m.Address, ""
	if count > 0 {
		whose = " of " + m.Name
	}
	line0, dup := have[a]
	if !dup {
		have[a] = line
	}
	before := len(v.found)
	subnet, whole, first := underlay.SubnetOf(a), underlay.Subnet.String(), "the underlay's gateway"
	if underlay.Behind.IsValid() {
		whole += fmt.Sprintf(" and of %s, which is behind %s", underlay.Behind, underlay.Router)
	}
	if subnet == underlay.Behind {
		first = "the router's"
	}
	switch {
	case dup:
		v.fault(line, "address %s%s: duplicate of line %d", a, whose, v.line(line0))
	case !subnet.IsValid():
	case !subnet.Contains(a):
		v.fault(line, "address %s%s is outside of underlay.subnet %s", a, whose, whole)
	case a == subnet.Addr() || !subnet.Contains(a.Next()):
		v.fault(line, "address %s%s is the network's or the broadcast address of %s", a, whose, subnet)
	case a == gateway(subnet):
		v.fault(line, "address %s%s is %s, always the first of %s", a, whose, first, subnet)
	}
	if len(v.found) == before {
		return true
	}
	if count > 0 {
		v.found[len(v.found)-1].text += fmt.Sprintf("; addresses are counted up, so %d machines need as many free ones in a row", count)
	}
	return false
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

// routerAS reads the AS number of a router, which nobody else has.
func (v *validator) routerAS(rm *rawMachine, key string) uint32 {
	if rm.Role.Value != string(RoleRouter) && rm.AS.Line > 0 {
		v.fault(rm.AS.Line, "%s: only machines with role %s have an AS number of their own; that of the nodes is bgp.asNumber", key, RoleRouter)
		return 0
	}
	return v.asNumber(rm.AS, key)
}

func firstLine(all map[string]scalar) (line int) {
	for _, s := range all {
		if line == 0 || s.Line < line {
			line = s.Line
		}
	}
	return line
}

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

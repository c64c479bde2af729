//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// products are the rivals by their processes' names, and by the units that start them at boot.
var products = map[string]string{
	"calico-node": fact.Calico, "calico-felix": fact.Calico,
	"kubelet": fact.Kubernetes, "k3s": fact.Kubernetes, "k3s-server": fact.Kubernetes, "k3s-agent": fact.Kubernetes,
	"rke2": fact.Kubernetes, "rke2-server": fact.Kubernetes, "rke2-agent": fact.Kubernetes,
	"bird": fact.BIRDDaemon, "bird6": fact.BIRDDaemon,
	"frr": fact.FRR, "watchfrr": fact.FRR, "zebra": fact.FRR, "bgpd": fact.FRR,
	"firewalld":      fact.Firewalld,
	"NetworkManager": fact.NetworkManager,
}

// programsOf looks at the processes below root in this program's network namespace: rivals, and who listens on TCP ports.
func programsOf(root string) (fact.Seen[[]fact.Rival], fact.Seen[[]fact.Listener]) {
	sockets, err := listening(root)
	if err != nil {
		return fact.Unknown[[]fact.Rival](err.Error()), fact.Unknown[[]fact.Listener](err.Error())
	}
	rivals, owners := processes(root)
	// Whose owner wasn't found may have ended meanwhile.
	still, err := listening(root)
	var all []fact.Listener
	for inode, address := range sockets {
		if p, found := owners[inode]; found || still[inode] == address {
			all = append(all, fact.Listener{Address: address, Process: p})
		}
	}
	slices.SortFunc(all, func(a, b fact.Listener) int { return a.Address.Compare(b.Address) })
	return fact.Known(append(rivals, configured(root)...)), fact.See(all, err)
}

// processes are the rivals that run, one process of each product, and the owners of all sockets. A process that ends meanwhile is
// none.
func processes(root string) (rivals []fact.Rival, owners map[string]fact.Process) {
	owners = map[string]fact.Process{}
	own, _ := os.Readlink(filepath.Join(root, "proc/self/ns/net"))
	dirs, _ := filepath.Glob(filepath.Join(root, "proc/[0-9]*")) // in no case a bad pattern
	for _, dir := range dirs {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if ns, nserr := os.Readlink(filepath.Join(dir, "ns/net")); err != nil || nserr != nil || ns != own {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		p := fact.Process{PID: pid, Name: strings.TrimSpace(string(comm)), Container: containerOf(dir)}
		product := products[p.Name]
		same := func(r fact.Rival) bool { return r.Product == product && r.Process.Container == p.Container }
		if product != "" && !slices.ContainsFunc(rivals, same) && (product != fact.NetworkManager || !sparesCalico(root)) {
			rivals = append(rivals, fact.Rival{Product: product, Process: p})
		}
		fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
		for _, fd := range fds {
			if link, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err == nil && strings.HasPrefix(link, "socket:[") {
				owners[strings.Trim(link, "socket:[]")] = p
			}
		}
	}
	return rivals, owners
}

var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

// containerOf is the container of a process: every runtime calls its control group by the container's ID.
func containerOf(dir string) string {
	groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	return string(containerID.Find(groups))
}

// configured are the rivals that start at the next boot, if they don't run already, and those that are no process.
func configured(root string) []fact.Rival {
	var all []fact.Rival
	links, _ := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/*.service"))
	for _, link := range links {
		unit := filepath.Base(link)
		product := products[strings.TrimSuffix(unit, ".service")]
		// Of a package that was removed the link may be left.
		if _, err := os.Stat(link); err == nil && product != "" && product != fact.NetworkManager {
			all = append(all, fact.Rival{Product: product, Unit: unit})
		}
	}
	conf, _ := os.ReadFile(filepath.Join(root, "etc/ufw/ufw.conf"))
	if regexp.MustCompile(`(?mi)^\s*ENABLED\s*=\s*"?yes`).Match(conf) {
		all = append(all, fact.Rival{Product: fact.UFW})
	}
	return all
}

// sparesCalico says whether NetworkManager's configuration leaves interfaces alone that are named as Calico's are
// (NetworkManager.conf(5), unmanaged-devices).
func sparesCalico(root string) bool {
	var files []string
	for _, pattern := range []string{"etc/NetworkManager/NetworkManager.conf", "usr/lib/NetworkManager/conf.d/*.conf", "run/NetworkManager/conf.d/*.conf", "etc/NetworkManager/conf.d/*.conf"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern))
		files = append(files, found...)
	}
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			key, value, _ := strings.Cut(line, "=")
			if strings.TrimRight(strings.TrimSpace(key), "+") != "unmanaged-devices" {
				continue
			}
			for _, spec := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(";, \t\n", r) }) {
				glob, named := strings.CutPrefix(spec, "interface-name:")
				if ok, _ := path.Match(glob, "cali0123456789a"); spec == "*" || named && ok {
					return true
				}
			}
		}
	}
	return false
}

// listening are the addresses of the listening TCP sockets, by their inodes (proc_net_tcp.txt in the kernel's documentation).
func listening(root string) (map[string]netip.AddrPort, error) {
	all := map[string]netip.AddrPort{}
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(root, "proc/net", name))
		if errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			continue
		}
		if err != nil {
			return nil, err
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			const local, state, inode = 1, 3, 9
			fields := strings.Fields(sc.Text())
			if len(fields) <= inode || fields[state] != "0A" { // TCP_LISTEN
				continue
			}
			if address, ok := hexAddress(fields[local]); ok {
				all[fields[inode]] = address
			}
		}
		f.Close()
	}
	return all, nil
}

// hexAddress reads ADDRESS:PORT, the address in words of 32 bits in the CPU's order, which is little-endian here.
func hexAddress(s string) (netip.AddrPort, bool) {
	ip, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(ip)
	n, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		binary.BigEndian.PutUint32(word, binary.LittleEndian.Uint32(word))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok
}

// mark reads the mark of the lab that this machine belongs to.
func mark(file string) fact.Seen[string] {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fact.Known("")
	}
	return fact.See(strings.TrimSpace(string(data)), err)
}

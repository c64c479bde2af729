//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
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

// rivals are those of the processes below root in this program's network namespace, one process of each product, and those that
// are configured. A process that ends meanwhile is none.
func rivals(root string) fact.Seen[[]fact.Rival] {
	pids, err := processes(root)
	if err != nil {
		return fact.Unknown[[]fact.Rival](err.Error())
	}
	var all []fact.Rival
	own, _ := os.Readlink(filepath.Join(root, "proc/self/ns/net"))
	for _, pid := range pids {
		dir := filepath.Join(root, "proc", itoa(pid))
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		product := products[strings.TrimSpace(string(comm))]
		if product == "" { // of most there is nothing else to read
			continue
		}
		if ns, err := os.Readlink(filepath.Join(dir, "ns/net")); err != nil || ns != own {
			continue
		}
		p := process(dir, pid)
		same := func(r fact.Rival) bool { return r.Product == product && r.Process.Container == p.Container }
		if !slices.ContainsFunc(all, same) && (product != fact.NetworkManager || !sparesCalico(root)) {
			all = append(all, fact.Rival{Product: product, Process: p})
		}
	}
	return fact.Known(append(all, configured(root)...))
}

// listeners are who listens on TCP ports.
func listeners(root string, ports []uint16) fact.Seen[[]fact.Listener] {
	sockets, err := listening(root, ports)
	if err != nil {
		return fact.Unknown[[]fact.Listener](err.Error())
	}
	owners, err := ownersOf(root, sockets)
	if err == nil && len(owners) < len(sockets) { // whose owner wasn't found may have ended meanwhile
		var still map[string]netip.AddrPort
		still, err = listening(root, ports)
		maps.DeleteFunc(sockets, func(inode string, a netip.AddrPort) bool { return owners[inode].PID == 0 && still[inode] != a })
	}
	var all []fact.Listener
	for inode, address := range sockets {
		all = append(all, fact.Listener{Address: address, Process: owners[inode]})
	}
	slices.SortFunc(all, func(a, b fact.Listener) int { return a.Address.Compare(b.Address) })
	return fact.See(all, err)
}

// ownersOf are the processes that have sockets, by the sockets' inodes. The newest come first: the lab's containers are among them,
// and of a socket that systemd hands to a service the service is.
func ownersOf[A any](root string, sockets map[string]A) (map[string]fact.Process, error) {
	owners := map[string]fact.Process{}
	if len(sockets) == 0 {
		return owners, nil
	}
	pids, err := processes(root)
	for _, pid := range slices.Backward(pids) {
		dir := filepath.Join(root, "proc", itoa(pid))
		fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
		for _, fd := range fds {
			link, _ := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			inode := strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")
			if _, wanted := sockets[inode]; wanted && owners[inode].PID == 0 {
				owners[inode] = process(dir, pid)
			}
		}
		if len(owners) == len(sockets) {
			break
		}
	}
	return owners, err
}

// processes are the numbers of all processes, sorted.
func processes(root string) (pids []int, err error) {
	proc, err := os.Open(filepath.Join(root, "proc"))
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, err
}

// process describes a process; every runtime calls a container's control group by its ID.
func process(dir string, pid int) fact.Process {
	comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
	groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
	return fact.Process{PID: pid, Name: strings.TrimSpace(string(comm)), Container: string(containerID.Find(groups))}
}

var containerID = regexp.MustCompile(`[0-9a-f]{64}`)

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

// listening are the addresses of the TCP sockets that listen on ports, by their inodes (proc_net_tcp.txt in the kernel's
// documentation).
func listening(root string, ports []uint16) (map[string]netip.AddrPort, error) {
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
			if address, ok := hexAddress(fields[local]); ok && slices.Contains(ports, address.Port()) {
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

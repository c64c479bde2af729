//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/calico-cni-lab/lab/magefiles/internal/fact"
)

// deep looks at what a baseline and explanations need. It starts other programs, iptables-save in each of its forms: the kernel's own
// answer would have to be taken apart rule by rule.
func deep(r fact.Request, d fact.Seen[fact.Docker]) fact.Deep {
	var all fact.Deep
	var wg sync.WaitGroup
	wg.Go(func() { all.Rules, all.Firewall = rules(), firewall() })
	wg.Go(func() { all.Learned = learned(r.BIRD) })
	wg.Go(func() { all.Inside = insideRules(d) })
	wg.Go(func() {
		all.Namespaces, all.Lookups, all.Qdiscs = namespaces("/run/netns"), within(nil, lookupsOf), within(nil, qdiscsOf)
		all.Sysctls = sysctls("/proc/sys")
		all.Texts = texts(r.Texts)
	})
	wg.Go(func() { all.Networks = networks(r.Slow) })
	root, why := nodeRoot(d)
	all.Services, all.Rendered = fact.Unknown[map[string]string](why), fact.Unknown[map[string]string](why)
	if why == "" {
		all.Services, all.Rendered = services(root+"/etc/service/enabled"), rendered(root+"/etc/calico/confd/config")
	}
	wg.Wait()
	return all
}

// saveTime is how long reading the rules may take: xtables' lock may be held by Felix.
const saveTime = 5 * time.Second

// save runs a form of iptables-save. Its rules are as the last run that changed them left them, which may take the lock.
func save(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), saveTime)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

func firewall() fact.Seen[map[string]string] {
	all := map[string]string{}
	for _, form := range []struct{ command, tables string }{
		{"iptables", ""}, {"ip6tables", ""},
		// The kernel's old tables come into being when they are asked for: only where somebody did.
		{"iptables-legacy", "/proc/net/ip_tables_names"}, {"ip6tables-legacy", "/proc/net/ip6_tables_names"},
	} {
		if form.tables != "" {
			if names, err := os.ReadFile(form.tables); err != nil || len(names) == 0 {
				continue
			}
		}
		if _, err := exec.LookPath(form.command + "-save"); err != nil {
			continue
		}
		text, err := save(form.command + "-save")
		if err != nil {
			return fact.Unknown[map[string]string](err.Error())
		}
		all[form.command] = text
	}
	return fact.Known(all)
}

// insideRules looks at the firewall in the sandbox of the lab's workload.
func insideRules(d fact.Seen[fact.Docker]) fact.Seen[map[string]string] {
	if d.Unknown != "" {
		return fact.Unknown[map[string]string](d.Unknown)
	}
	all := map[string]string{}
	for _, c := range d.Value.Part(fact.PartWorkload) {
		key := c.NetworkSettings.SandboxKey
		if c.State.Status != "running" || key == "" {
			continue
		}
		text, err := save("nsenter", "--net="+key, "iptables-save")
		if err != nil {
			return fact.Unknown[map[string]string](err.Error())
		}
		all[key] = text
	}
	return fact.Known(all)
}

func namespaces(dir string) fact.Seen[[]string] {
	var names []string
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return fact.See(names, err)
}

func qdiscsOf(h *netlink.Handle) (map[string]string, error) {
	names, err := linkNames(h)
	if err != nil {
		return nil, err
	}
	list, err := retry(func() ([]netlink.Link, error) { return h.LinkList() })
	all := map[string]string{}
	for _, l := range list {
		qdiscs, qerr := h.QdiscList(l)
		if qerr != nil {
			continue // it has just gone
		}
		for _, q := range qdiscs {
			if q.Attrs().Parent == netlink.HANDLE_ROOT {
				all[names[q.Attrs().LinkIndex]] = q.Type()
			}
		}
	}
	return all, err
}

// perLink are the settings of interfaces that decide whether a packet passes, by net.ipv4.conf.
var perLink = []string{"forwarding", "proxy_arp", "rp_filter", "accept_local", "route_localnet", "arp_ignore"}

func sysctls(root string) fact.Seen[map[string]string] {
	all := map[string]string{}
	paths := []string{
		"net/ipv4/ip_forward", "net/ipv4/icmp_echo_ignore_all", "net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/disable_ipv6",
		"net/bridge/bridge-nf-call-iptables", "net/ipv4/ip_default_ttl",
	}
	links, err := os.ReadDir(root + "/net/ipv4/conf")
	if err != nil {
		return fact.Unknown[map[string]string](err.Error())
	}
	for _, l := range links {
		for _, s := range perLink {
			paths = append(paths, "net/ipv4/conf/"+l.Name()+"/"+s)
		}
	}
	for _, p := range paths {
		if data, err := os.ReadFile(filepath.Join(root, p)); err == nil { // what this kernel doesn't have nobody can change
			all[p] = strings.TrimSpace(string(data))
		}
	}
	return fact.Known(all)
}

func networks(slow int) fact.Seen[map[string]string] {
	var list []struct{ Name, ID string }
	if err := newEngine(dockerSocket, slow).get("/networks", &list); err != nil {
		return fact.Unknown[map[string]string](err.Error())
	}
	all := map[string]string{}
	for _, n := range list {
		all[n.Name] = n.ID
	}
	return fact.Known(all)
}

// texts reads files, and those in and below directories. Larger ones than a text is are left out.
func texts(paths []string) fact.Seen[map[string]fact.Text] {
	all := map[string]fact.Text{}
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && !d.Type().IsRegular() {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := os.Stat(path)
			if err != nil || info.Size() > fact.LargestText {
				return nil //nolint:nilerr // it has just gone
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return nil //nolint:nilerr // it has just gone
			}
			st := info.Sys().(*syscall.Stat_t)
			all[path] = fact.Text{Mode: strconv.FormatUint(uint64(info.Mode().Perm()), 8), Owner: userName(st.Uid) + ":" + groupName(st.Gid), Content: string(data)}
			return nil
		})
		if err != nil {
			return fact.Unknown[map[string]fact.Text](err.Error())
		}
	}
	return fact.Known(all)
}

// nodeRoot is the root directory of calico-node's container, as the machine sees it; or why there is none.
func nodeRoot(d fact.Seen[fact.Docker]) (root, why string) {
	for _, c := range d.Value.Part(fact.PartNode) {
		if c.State.Status == "running" && c.State.Pid > 0 {
			return fmt.Sprintf("/proc/%d/root", c.State.Pid), ""
		}
	}
	if d.Unknown != "" {
		return "", d.Unknown
	}
	return "", "calico-node doesn't run"
}

// services reads what runit's supervisors say of their services (runsv(8): supervise/stat).
func services(dir string) fact.Seen[map[string]string] {
	all := map[string]string{}
	files, err := filepath.Glob(dir + "/*/supervise/stat")
	for _, file := range files {
		data, rerr := os.ReadFile(file)
		if rerr != nil {
			return fact.Unknown[map[string]string](rerr.Error())
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(data)), ",")
		all[filepath.Base(filepath.Dir(filepath.Dir(file)))] = first
	}
	return fact.See(all, err)
}

func rendered(dir string) fact.Seen[map[string]string] {
	all := map[string]string{}
	for _, name := range []string{"bird.cfg", "bird_aggr.cfg", "bird_ipam.cfg"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // confd hasn't come to it yet
		}
		if err != nil {
			return fact.Unknown[map[string]string](err.Error())
		}
		all[name] = string(data)
	}
	return fact.Known(all)
}

package nspawn

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calico-cni-lab/lab/magefiles/internal/command"
	"github.com/calico-cni-lab/lab/magefiles/internal/lab"
)

// feature is a part of the kernel, as a module and as an option of the kernel's configuration.
type feature struct{ module, option string }

// features are what machines use of this computer's kernel: what Docker, Felix and CNI plugins were seen to ask for
// (iptables-save, ipset list, ip link). Machines can't load modules.
var features = []feature{
	{"overlay", "OVERLAY_FS"},
	{"bridge", "BRIDGE"},
	{"veth", "VETH"},
	{"nf_conntrack", "NF_CONNTRACK"},
	{"nf_conntrack_netlink", "NF_CT_NETLINK"}, // Felix forgets connections of workloads that are gone
	{"nf_nat", "NF_NAT"},
	{"nf_tables", "NF_TABLES"}, // iptables writes there, with the matches below by nft_compat
	{"nft_compat", "NFT_COMPAT"},
	{"nft_chain_nat", "NFT_NAT"},
	{"xt_addrtype", "NETFILTER_XT_MATCH_ADDRTYPE"},
	{"xt_comment", "NETFILTER_XT_MATCH_COMMENT"},
	{"xt_conntrack", "NETFILTER_XT_MATCH_CONNTRACK"},
	{"xt_mark", "NETFILTER_XT_MARK"},
	{"xt_MASQUERADE", "NETFILTER_XT_TARGET_MASQUERADE"},
	{"xt_multiport", "NETFILTER_XT_MATCH_MULTIPORT"},
	{"ipt_rpfilter", "IP_NF_MATCH_RPFILTER"},
	{"ip6t_rpfilter", "IP6_NF_MATCH_RPFILTER"}, // Felix programs IPv6 too, though the lab has none
	{"ip_set", "IP_SET"},
	{"ip_set_hash_ip", "IP_SET_HASH_IP"},
	{"ip_set_hash_net", "IP_SET_HASH_NET"},
	{"xt_set", "NETFILTER_XT_SET"},
}

// kernel is what a computer's files say about its kernel.
type kernel struct {
	release   string
	modules   map[string]bool // that are loaded or built in
	built     map[string]bool // options of its configuration that are y
	described bool            // whether anything says what is built in
}

// readKernel reads the kernel's description below root, which is / but in tests. Files that aren't there say nothing.
func readKernel(root string) kernel {
	release, _ := os.ReadFile(filepath.Join(root, "proc/sys/kernel/osrelease"))
	k := kernel{release: strings.TrimSpace(string(release)), modules: map[string]bool{}, built: map[string]bool{}}
	for line := range lines(filepath.Join(root, "proc/modules")) {
		name, _, _ := strings.Cut(line, " ")
		k.modules[name] = true
	}
	for line := range lines(filepath.Join(root, "lib/modules", k.release, "modules.builtin")) {
		name, _, _ := strings.Cut(filepath.Base(line), ".")
		k.described = true
		k.modules[strings.ReplaceAll(name, "-", "_")] = true
	}
	for _, file := range []string{"proc/config.gz", "boot/config-" + k.release} {
		for line := range lines(filepath.Join(root, file)) {
			if name, ok := strings.CutSuffix(strings.TrimPrefix(line, "CONFIG_"), "=y"); ok {
				k.described, k.built[name] = true, true
			}
		}
	}
	return k
}

// lines yields a file's lines; none where it can't be read.
func lines(file string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		f, err := os.Open(file)
		if err != nil {
			return
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(file, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				return
			}
		}
		for s := bufio.NewScanner(r); s.Scan(); {
			if !yield(s.Text()) {
				return
			}
		}
	}
}

// lacks returns the modules of those features that are neither loaded nor built in.
func (k kernel) lacks(features []feature) []string {
	var modules []string
	for _, f := range features {
		if !k.modules[f.module] && !k.built[f.option] {
			modules = append(modules, f.module)
		}
	}
	return modules
}

// loadModules loads what the kernel has as modules and machines use. What it lacks altogether is an error. A kernel that
// says nothing about itself has the benefit of the doubt.
func (p *Provider) loadModules(ctx context.Context) error {
	wanted := features
	if p.Lab.Pool.VXLANMode != lab.VXLANNever {
		wanted = append(slices.Clone(features), feature{"vxlan", "VXLAN"})
	}
	missing := readKernel("/").lacks(wanted)
	if len(missing) == 0 {
		return nil
	}
	p.Notice("loading kernel modules: %s", strings.Join(missing, " "))
	_, failed := p.Run.Run(ctx, command.Cmd{Args: append([]string{"modprobe", "--all", "--"}, missing...), Root: true})
	if failed == nil || ctx.Err() != nil {
		return failed
	}
	return readKernel("/").verdict(wanted)
}

// verdict is the error where modprobe has failed and something is still missing for certain.
func (k kernel) verdict(wanted []feature) error {
	missing := k.lacks(wanted)
	if len(missing) == 0 || !k.described {
		return nil
	}
	return fmt.Errorf("this computer's kernel (%s) lacks what the machines use, and modprobe doesn't find it: %s; boot the distribution's usual kernel "+
		"(on Ubuntu with the package linux-modules-extra-%[1]s), or use another hardware layer: LAB_HARDWARE=vagrant", k.release, strings.Join(missing, " "))
}

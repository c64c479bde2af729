#!/bin/bash
# Looks, in a container like the machines, what the daemon's kernel lets them do. Prints a line for each thing that it doesn't.
# Usage: docker-fit.sh DIR INOTIFY DISK MEMORY
#   DIR  a volume     INOTIFY, DISK, MEMORY  how many inotify instances, and KB of disk and of memory, are needed
set -uo pipefail
dir=$1 inotify=$2 disk=$3 memory=$4
try() {
	what=$1
	shift
	"$@" >/dev/null 2>"$dir/said" || echo "kernel $what: $(tail -n 1 "$dir/said")"
}
modprobe --all --quiet overlay br_netfilter veth vxlan nf_conntrack nf_conntrack_netlink nf_nat nf_tables nft_compat nft_chain_nat xt_addrtype xt_comment \
	xt_conntrack xt_mark xt_MASQUERADE xt_multiport ipt_rpfilter ip6t_rpfilter ip_set ip_set_hash_ip ip_set_hash_net xt_set 2>/dev/null
try veth ip link add lab0 type veth peer name lab1
try bridge ip link add lab2 type bridge
try vxlan ip link add lab3 type vxlan id 1 dstport 4789
try "ip_set (hash:ip)" ipset create lab-ip hash:ip
try "ip_set (hash:net)" ipset create lab-net hash:net
try "iptables, xt_set" iptables -A INPUT -m set --match-set lab-net src -j ACCEPT
try xt_conntrack iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT
try xt_mark iptables -A INPUT -m mark --mark 1 -j MARK --set-mark 2
try xt_multiport iptables -A INPUT -p tcp -m multiport --dports 1,2 -j ACCEPT
try xt_addrtype iptables -A INPUT -m addrtype --dst-type LOCAL -j ACCEPT
try rpfilter iptables -t raw -A PREROUTING -m rpfilter --invert -j DROP
try "nat, xt_MASQUERADE" iptables -t nat -A POSTROUTING -j MASQUERADE
mkdir -p "$dir"/{upper,work,lower,merged}
try "overlay on a volume" mount -t overlay lab -o "lowerdir=/usr:$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/merged"
while read -r _ target type _; do
	case $type in
	cgroup | cgroup2) try "control groups that a container may write to" mount -o remount,rw,bind "$target" ;;
	esac
done </proc/self/mounts
have=$(cat /proc/sys/fs/inotify/max_user_instances 2>/dev/null || echo "$inotify")
if ((have < inotify)); then echo "inotify $have"; fi
free=$(df --output=avail "$dir" | tail -n 1)
if ((free < disk)); then echo "disk $free"; fi
while read -r name kb _; do
	if [ "$name" = MemAvailable: ] && ((kb < memory)); then echo "memory $kb"; fi
done </proc/meminfo
umount "$dir/merged" 2>/dev/null || true

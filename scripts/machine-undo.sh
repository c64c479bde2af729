#!/bin/bash
# Takes back what the stages did on a machine: containers, images, volume, routes, interfaces, firewall chains, files.
# What is gone already is no error, so it can be run again. Prints what stays.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
undo=/var/lib/calico-cni-lab/undo

if command -v docker >/dev/null && systemctl start docker; then
	docker ps --all --quiet --filter label=calico-cni-lab.part | xargs -r docker rm --force >/dev/null
	docker volume ls --quiet --filter name='^calico-cni-lab-etcd$' | xargs -r docker volume rm --force >/dev/null
	docker image ls --format '{{.Repository}}:{{.Tag}}' 'calico-cni-lab/*' | xargs -r docker image rm --force >/dev/null
fi

# Workloads that a user plumbed by hand: only Calico names interfaces like this.
for link in /sys/class/net/cali*; do
	if [ -e "$link" ]; then ip link del "${link##*/}" 2>/dev/null || true; fi
done
# BIRD leaves its routes when it ends. 12 is RTPROT_BIRD.
ip route flush proto 12 2>/dev/null || true

# Felix' chains are named cali-, its rules elsewhere have a comment cali:, its sets are named cali; every other line of the tables stays as it is.
for iptables in iptables ip6tables; do
	if ! command -v "$iptables-save" >/dev/null; then continue; fi
	for table in raw mangle nat filter; do
		rules=$("$iptables-save" --counters --table "$table" 2>/dev/null || true)
		if grep -q 'cali[-:]' <<<"$rules"; then
			grep -v 'cali[-:]' <<<"$rules" | "$iptables-restore" --counters --table "$table"
		fi
	done
done
if command -v ipset >/dev/null; then
	# The kernel lets go of a set a moment after the last rule that used it, and of sets in a set after that one.
	for _ in {1..50}; do
		sets=$(ipset list --name | grep '^cali' || true)
		if [ -z "$sets" ]; then break; fi
		xargs -n 1 ipset destroy <<<"$sets" 2>/dev/null || read -r -t 0.1 <> <(:) || true
	done
	if [ -n "$sets" ]; then echo "ipset ${sets//$'\n'/ } stays: something else uses it"; fi
fi

if [ -f "$undo/paths" ]; then
	while read -r path; do
		if [ "${path%/}" != "$path" ]; then
			if [ -d "$path" ]; then rmdir --ignore-fail-on-non-empty -- "$path"; fi
			if [ -d "$path" ]; then echo "$path stays: something else is in it now"; fi
			continue
		fi
		original=$undo/originals/${path//\//%}
		rm -rf -- "$path"
		if [ -e "$original" ] || [ -L "$original" ]; then mv -fT -- "$original" "$path"; fi
	done < <(tac "$undo/paths")
fi
rm -rf /var/lib/calico-cni-lab

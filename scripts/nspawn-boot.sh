#!/bin/bash
# Boots one machine with systemd-nspawn, and ends when the machine is off.
# Usage: nspawn-boot.sh NAME DIR LAYERS NETNS BRIDGE CGROUP SHARE
#   NAME    host name                      NETNS   network namespace of the underlay
#   DIR     the machine's own directory    BRIDGE  bridge in it
#   LAYERS  below its files                CGROUP  control group, relative to each hierarchy's root
#   SHARE   directory shown read-only as /run/lab-share
set -euo pipefail
name=$1 dir=$2 layers=$3 netns=$4 bridge=$5 cgroup=$6 share=$7

# A mount namespace of its own: the root file system's mount goes when the last process goes, however it ends.
if [ -z "${LAB_UNSHARED:-}" ]; then
	LAB_UNSHARED=1 exec unshare --mount --propagation slave -- "$0" "$@"
fi

# One at a time: a run that was killed may have left this script at work. The lock is this shell's, which stays.
exec 9>"$dir/boot.lock"
flock --nonblock 9 || exit 0
# A socket that an earlier boot left would not answer, but would be there.
rm -f "$dir/run/ssh.sock"

# A control group of its own in every hierarchy: machines that share one boot broken now and then, and leave groups behind.
while read -r _ mnt type opts _; do
	case $type in
	cgroup | cgroup2) ;;
	*) continue ;;
	esac
	case $mnt in
	/sys/fs/cgroup*) ;;
	*) continue ;;
	esac
	group=$mnt
	IFS=/ read -ra parts <<<"$cgroup"
	for part in "${parts[@]}"; do
		parent=$group
		group=$group/$part
		mkdir -p "$group"
		if [ "$type" = cgroup2 ]; then
			# Controllers reach a group only through its parents.
			for c in $(<"$parent/cgroup.controllers"); do
				echo "+$c" 2>/dev/null >"$parent/cgroup.subtree_control" || true
			done
		elif [[ ,$opts, == *,cpuset,* ]]; then
			# A new cpuset is empty, and a process can't join an empty one.
			cat "$parent/cpuset.cpus" >"$group/cpuset.cpus"
			cat "$parent/cpuset.mems" >"$group/cpuset.mems"
		fi
	done
	echo $$ >"$group/cgroup.procs"
done </proc/self/mounts

mount -t overlay "lab-$name" -o "lowerdir=$layers,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"

# nsenter and not `ip netns exec`: that one mounts a fresh /sys and hides the control groups from nspawn.
nsenter --net="/run/netns/$netns" systemd-nspawn \
	--quiet --boot --register=no --keep-unit --console=pipe --settings=no \
	--directory="$dir/root" --machine="$name" --hostname="$name" \
	--network-bridge="$bridge" \
	--capability=all --system-call-filter='@keyring bpf' \
	--resolv-conf=off --timezone=off --link-journal=no \
	--bind="$dir/docker:/var/lib/docker" \
	--bind="$dir/run:/run/lab" \
	--bind-ro="$share:/run/lab-share"

#!/bin/bash
# Boots one machine with systemd-nspawn, and ends when the machine is off.
# Usage: nspawn-boot.sh NAME DIR LAYERS NETNS BRIDGE CGROUP SHARE BASE ROOTFS
#   NAME    host name                      NETNS   network namespace of the underlay
#   DIR     the machine's own directory    BRIDGE  bridge in it
#   LAYERS  below its files                CGROUP  control group, relative to each hierarchy's root
#   SHARE   directory shown read-only as /run/lab-share
#   BASE    number of the machine's root on this computer, the first of 65536 users
#   ROOTFS  program that mounts the root file system
set -euo pipefail
umask 022
name=$1 dir=$2 layers=$3 netns=$4 bridge=$5 cgroup=$6 share=$7 base=$8 rootfs=$9

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
given=() # to the machine's root
while read -r _ mnt type opts _; do
	case $type in
	cgroup | cgroup2) ;;
	*) continue ;;
	esac
	case $mnt in
	/sys/fs/cgroup*) ;;
	*) continue ;;
	esac
	# Again, should the end of another lab remove the group of all labs in between, because it is empty.
	for _ in 1 2 3; do
		if mkdir -p "$mnt/$cgroup"; then break; fi
	done
	group=$mnt
	IFS=/ read -ra parts <<<"$cgroup"
	for part in "${parts[@]}"; do
		parent=$group
		group=$group/$part
		if [ "$type" = cgroup2 ]; then
			# Controllers reach a group only through its parents.
			for c in $(<"$parent/cgroup.controllers"); do
				echo "+$c" 2>/dev/null >"$parent/cgroup.subtree_control" || true
			done
		elif [[ ,$opts, == *,cpuset,* ]]; then
			# A new cpuset is empty, and a process can't join an empty one.
			echo "$(<"$parent/cpuset.cpus")" >"$group/cpuset.cpus"
			echo "$(<"$parent/cpuset.mems")" >"$group/cpuset.mems"
		fi
	done
	# An earlier boot's, made by a machine whose root may have been another user.
	if compgen -G "$group/*/" >/dev/null; then find "$group" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
	if [ "$type" = cgroup ] && [[ ,$opts, != *,name=* ]]; then
		# Docker makes groups in here. In the other hierarchies nspawn hands the machine a group itself.
		given+=("$group" "$group/cgroup.procs" "$group/tasks")
	fi
	echo $$ >"$group/cgroup.procs"
done </proc/self/mounts
if [ ${#given[@]} -gt 0 ]; then chown "$base:$base" "${given[@]}"; fi

# nspawn's own traces, locks and directories named after machines as those of another lab may be, go with the mount namespace.
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755,size=1m lab /run/systemd/nspawn

# The machine's root makes the SSH socket; the directory's group is the user's who may reach it.
chown "$base" "$dir/run"
chmod 0750 "$dir/run"
"$rootfs" "$base" mount "$dir/root" "$dir/own" "$layers"

# What nobody on the machine can have, and no container on it. Kept are what Docker gives every container, what calico-node
# asks for besides (SYS_MODULE opens nothing in a user namespace: the kernel wants it in the first one), what systemd, Docker
# and sudo do their work with, and SYS_BOOT to power off. A capability that is new is nothing that the lab needs.
keep=$(printf 'cap_%s\n' chown dac_override fowner fsetid kill mknod setfcap setgid setpcap setuid sys_chroot audit_write \
	net_admin net_bind_service net_raw ipc_lock sys_module sys_ptrace sys_admin sys_resource sys_nice sys_boot)
drop=$(systemd-nspawn --capability=help | grep -vxF "$keep" | paste -sd,)

# nsenter and not `ip netns exec`: that one mounts a fresh /sys and hides the control groups from nspawn.
boot() {
	# Which directory the machine sees this time, whatever becomes of the path.
	stat --format=%d:%i -- "$share" >"$dir/share"
	nsenter --net="/run/netns/$netns" systemd-nspawn \
		--quiet --boot --register=no --keep-unit --console=pipe --settings=no \
		--directory="$dir/root" --machine="$name" --hostname="$name" \
		--network-bridge="$bridge" \
		--private-users="$base:65536" --private-users-ownership=off \
		--capability=all --drop-capability="$drop" --system-call-filter=@keyring \
		--resolv-conf=off --timezone=off --link-journal=no \
		--bind="$dir/own/docker:/var/lib/docker:idmap" \
		--bind="$dir/run:/run/lab" \
		--bind-ro="$share:/run/lab-share:idmap"
}

# A machine that is rebooted ends nspawn with 133, for whoever keeps the unit to start it anew (systemd's EXIT_FORCE_RESTART).
while :; do
	status=0
	boot || status=$?
	if [ "$status" -ne 133 ]; then exit "$status"; fi
	rm -f "$dir/run/ssh.sock"
done

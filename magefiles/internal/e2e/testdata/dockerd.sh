#!/bin/bash
# Runs a Docker daemon of the test's own, out of the box of nspawn containers: nothing is installed on this computer, and its
# interfaces, routes and firewall stay as they are. Everything ends with this script, however it ends.
# Usage: dockerd.sh BOX DIR GROUP CGROUP
#   BOX    the box's tree, which is left as it is     GROUP   who may use the daemon
#   DIR    socket, log, and the disk with the data root
#   CGROUP the daemon's containers are below it, relative to each hierarchy's root
# With LAB_CGROUP2 set it sees control groups of version 2 alone, which have no controllers on a computer with both.
set -euo pipefail
box=$1 dir=$2 group=$3 cgroup=$4
disk=$dir/disk

if [ -z "${LAB_UNSHARED:-}" ]; then
	mkdir -p "$dir/data" "$dir/run"
	if ! [ -e "$disk" ]; then # takes what is written to it
		truncate --size=16G "$disk"
		mke2fs -q -t ext4 -m 0 "$disk"
	fi
	export LAB_UNSHARED=1
	exec unshare --mount --propagation private --net --pid --fork --kill-child -- bash "$0" "$@"
fi
ip link set lo up
mount -o loop,discard "$disk" "$dir/data" # the loop device goes with the mount
if [ -n "${LAB_CGROUP2:-}" ]; then
	umount --recursive /sys/fs/cgroup
	mount -t cgroup2 lab /sys/fs/cgroup
fi
mount -t tmpfs -o size=64m lab /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay lab -o "lowerdir=$box,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
mount -t sysfs sysfs /mnt/root/sys
mount --rbind /sys/fs/cgroup /mnt/root/sys/fs/cgroup
mount --rbind /dev /mnt/root/dev
mount -t tmpfs lab /mnt/root/run
if [ -d /lib/modules ]; then
	mkdir -p /mnt/root/lib/modules
	mount --bind /lib/modules /mnt/root/lib/modules
fi
mkdir -p /mnt/root/var/lib/docker /mnt/root/run/daemon
mount --bind "$dir/data" /mnt/root/var/lib/docker
mount --bind "$dir/run" /mnt/root/run/daemon
mkdir -p /mnt/root/tmp
rm -f "$dir/run/docker.sock" "$dir/run/docker.pid"
exec >"$dir/dockerd.log" 2>&1
# Not chroot alone: containers would keep the mounts of this computer below theirs.
mkdir -p /mnt/root/old
cd /mnt/root
pivot_root . old
exec chroot . sh -c 'umount -l /old && exec "$@"' sh dockerd --host=unix:///run/daemon/docker.sock --group="$group" --cgroup-parent="/$cgroup" --bip=192.0.2.1/24

#!/bin/bash
# Loads images with the box's own Docker Engine into a data directory, without booting anything.
# Usage: bash -c "$(<docker-store.sh)" docker-store BOX OUT        with a tar of what `docker load` reads at standard input
#   BOX  the box's tree, left as it is
#   OUT  the data directory to make: images and layers, nothing that belongs to one machine
set -euo pipefail
box=$1 out=$2

# Namespaces of its own: mounts, processes and network end with this script, however it ends.
if [ -z "${LAB_UNSHARED:-}" ]; then
	export LAB_UNSHARED=1
	exec unshare --mount --propagation private --net --pid --fork --kill-child -- bash -c "$BASH_EXECUTION_STRING" docker-store "$@"
fi

rm -rf "$out"
mkdir -p "$out"
# A tmpfs of this mount namespace, over a directory that is there anyway.
mount -t tmpfs -o size=64m lab /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay lab -o "lowerdir=$box,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /sys /mnt/root/sys
mount --rbind /dev /mnt/root/dev
mount -t tmpfs lab /mnt/root/run
mkdir -p /mnt/root/var/lib/docker
mount --bind "$out" /mnt/root/var/lib/docker

chroot /mnt/root dockerd --bridge=none --iptables=false --ip-forward=false >/mnt/dockerd.log 2>&1 &
dockerd=$!
for _ in $(seq 600); do
	[ -S /mnt/root/run/docker.sock ] && chroot /mnt/root docker version >/dev/null 2>&1 && break
	if ! kill -0 "$dockerd" 2>/dev/null; then
		tail -n 5 /mnt/dockerd.log >&2
		exit 1
	fi
	read -rt 0.05 <> <(:) || true
done
tar --extract --to-command='chroot /mnt/root docker load --quiet'
kill "$dockerd"
wait "$dockerd" || true
umount /mnt/root/var/lib/docker
find "$out" -mindepth 1 -maxdepth 1 ! -name image ! -name overlay2 -exec rm -rf {} +

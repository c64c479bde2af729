#!/bin/bash
# Makes a machine's directory, whole or not at all. Standard input: a tar of the machine's own files.
# Usage: nspawn-create.sh DIR LAYERS STORE OWNER
#   DIR    the machine's directory                   STORE  Docker data directory that has the images
#   LAYERS below its own files, overlay's lowerdir   OWNER  uid:gid that may reach the SSH socket
set -euo pipefail
dir=$1 layers=$2 store=$3 owner=$4
part=$dir.part

# A run that was killed may have left this script at work. What it makes has a host key that nobody knows any more.
umask 077 # a lock that others can open they can take
exec 9>"$dir.lock"
umask 022
flock 9
rm -rf "$part" "$dir"
mkdir -p "$part"/{own/{upper,work,docker},root,run}
# The machine is its user's to look at, and nobody else's.
chgrp "${owner#*:}" "$part"
chmod 0750 "$part"
# A program with a setuid bit that the machine's root makes is nobody's to run here.
chmod 0700 "$part/own"
tar --extract --numeric-owner --preserve-permissions --directory="$part/own/upper"
# nspawn can't make this mount point itself: this computer's root owns nothing in the machine.
mkdir -p "$part/own/upper/var/lib/docker"
# Layers by hard links: Docker never writes into one. All else is copied.
cp -a "$store/image" "$part/own/docker/"
cp -al "$store/overlay2" "$part/own/docker/" 2>/dev/null || cp -a "$store/overlay2" "$part/own/docker/"
chown "$owner" "$part/run"
chmod 0700 "$part/run"
echo "$layers" >"$part/layers"
mv -T "$part" "$dir"

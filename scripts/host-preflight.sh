#!/bin/sh
# Prints what is in the way of the lab on a machine that exists already, a line each. It changes nothing.
# Usage: host-preflight.sh ADDRESS GOARCH         ADDRESS: the machine's on the underlay, as lab.yaml says
set -eu
PATH=$PATH:/usr/sbin:/sbin
address=$1 arch=$2

if [ "$(uname -s)" != Linux ]; then
	echo "this is $(uname -s); the lab needs Linux"
	exit
fi
case "$arch $(uname -m)" in
"amd64 x86_64" | "arm64 aarch64") ;;
*) echo "its CPU is $(uname -m), and what is made here is for $arch; use a machine like this computer" ;;
esac
name="an unknown system"
family=
if [ -r /etc/os-release ]; then
	# shellcheck source=/dev/null
	. /etc/os-release
	name=$PRETTY_NAME
	family=" $ID ${ID_LIKE:-} "
fi
if [ "$(cat /proc/1/comm)" != systemd ]; then echo "systemd does not run as its first process; the lab starts Docker with it"; fi
if ! command -v docker >/dev/null; then
	case $family in
	*" debian "* | *" ubuntu "*) ;;
	*) echo "this is $name, where the lab can't install Docker; install it, or use Debian or Ubuntu" ;;
	esac
fi
if ! command -v bash >/dev/null; then echo "bash is missing; install it"; fi
if ! command -v sudo >/dev/null; then
	echo "sudo is missing; install it"
elif ! sudo -n true 2>/dev/null; then
	user=$(id -un)
	echo "$user may not use sudo without a password; as root, run: echo '$user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/$user"
fi
if command -v ip >/dev/null && ! ip -o -4 address show | grep -qF " $address/"; then
	echo "no interface has the address $address that lab.yaml says; it has: $(ip -o -4 address show scope global | awk '{printf "%s%s %s", sep, $2, $4; sep=", "}')"
fi

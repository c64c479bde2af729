#!/bin/bash
# Makes a lab's directory with its owner's name, and the underlay: a network namespace with a bridge and no
# way out. Run again, it makes what is missing.
# Usage: nspawn-underlay.sh LABDIR OWNER NETNS BRIDGE ADDRESS/BITS
set -euo pipefail
umask 022 # the user reads here, whose own umask sudo may pass on
labdir=$1 owner=$2 netns=$3 bridge=$4 address=$5

mkdir -p "$labdir"
printf %s "$owner" >"$labdir/owner"
if [ ! -e "/run/netns/$netns" ]; then
	ip netns add "$netns"
fi
if ! ip -n "$netns" link show "$bridge" >/dev/null 2>&1; then
	ip -n "$netns" link add "$bridge" type bridge
fi
ip -n "$netns" address replace "$address" dev "$bridge"
ip -n "$netns" link set lo up
ip -n "$netns" link set "$bridge" up

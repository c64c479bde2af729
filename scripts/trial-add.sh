# shellcheck shell=bash
# Gives a network namespace an interface and takes both away again; $1 is cnitool, $2 the network, $3 how many seconds it may take,
# $4 the plugins' directory, $5 the conflists'. It prints what went wrong, and nothing where all is well.
set -euo pipefail
cnitool=$1 network=$2 limit=$3
export CNI_PATH=$4 NETCONFPATH=$5
# cnitool calls the interface on the machine after three hexadecimal digits of a hash, and Calico's plugin takes it away from whoever has it.
for n in {1..50}; do
	name=trial-$n key=/run/netns/trial-$n
	digits=$(printf %s "$key" | sha512sum | head -c 3)
	if [ ! -e "$key" ] && [ ! -e "/sys/class/net/calicnitool-$digits" ]; then break; fi
done
ip netns add "$name"
trap 'ip netns del "$name"' EXIT
status=0
timeout --kill-after=1 "$limit" "$cnitool" add "$network" "$key" >/dev/null 2>&1 || status=$?
if [ "$status" = 124 ]; then
	echo "cnitool add has not ended after $limit s"
elif [ "$status" != 0 ]; then
	echo "cnitool add fails"
else
	timeout --kill-after=1 "$limit" "$cnitool" del "$network" "$key" >/dev/null 2>&1 || echo "cnitool del fails"
fi

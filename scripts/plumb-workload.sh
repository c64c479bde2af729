# shellcheck shell=bash disable=SC2154
# plumb NAME [KEY] gives the container NAME its interface, with CNI_ARGS if that is set. KEY is a sandbox in which an earlier add may
# have been cut off. Before it come the function cnitool and the variable network. cnitool calls an interface on the machine after
# three hexadecimal digits of a hash of the sandbox's path, and Calico's plugin takes one of that name away from whoever has it; so a
# container whose digits are taken is restarted, which gives it another sandbox.
plumb() {
	local name=$1 key digits
	for _ in {1..50}; do
		key=$(docker inspect --format '{{.NetworkSettings.SandboxKey}}' "$name")
		if [ -z "$key" ]; then
			echo "$name has no sandbox: its container doesn't run" >&2
			return 1
		fi
		if [ "$key" = "${2-}" ]; then cnitool del "$network" "$key"; fi
		digits=$(printf %s "$key" | sha512sum | head -c 3)
		if [ ! -e "/sys/class/net/calicnitool-$digits" ]; then
			add "$key"
			return
		fi
		docker restart "$name" >/dev/null
	done
	echo "$name: none of 50 sandboxes has a path of which cnitool would make an interface's name that is free" >&2
	return 1
}

# add KEY: an add that failed is followed by its del. Felix, when he starts, empties the file with the MTU and then writes it: who reads
# in between tries again.
add() {
	local said
	for _ in 1 2 3; do
		if said=$(cnitool add "$network" "$1" 2>&1 >/dev/null); then return 0; fi
		cnitool del "$network" "$1" || true
		if [[ $said != *"failed to read MTU file"* ]]; then break; fi
	done
	echo "$said" >&2
	return 1
}

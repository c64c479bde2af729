# Gives each workload its interface, and takes away those that aren't among the arguments. Prints what it changed. The function plumb
# comes before it.
# Usage: workloads.sh NAME...
set -euo pipefail
network=$NETWORK
cnitool() { "$CNITOOL" "$@"; }
sandbox() { docker inspect --format '{{.NetworkSettings.SandboxKey}}' "$1"; }
args() { jq --compact-output --sort-keys '[.plugins[].args]'; } # with the labels that a workload is to have

for have in $(docker ps --all --filter label="$LABEL_PART=workload" --format '{{.Names}}'); do
	if [[ " $* " == *" $have "* ]]; then continue; fi
	cnitool del "$network" "$(sandbox "$have")"
	docker rm --force "$have" >/dev/null
	echo "$have is taken away"
done
for name; do
	key=$(sandbox "$name")
	result=$(grep --files-with-matches --fixed-strings "\"$key\"" /var/lib/cni/results/"$network"-cnitool-* 2>/dev/null) || true
	if [ -n "$result" ] && nsenter --net="$key" ip -4 -brief address show dev eth0 2>/dev/null | grep --quiet / &&
		[ "$(jq --raw-output .config "$result" | base64 --decode | args)" = "$(args <"$CONFLIST")" ]; then
		continue
	fi
	plumb "$name" "$key"
	echo "$name is plumbed"
done

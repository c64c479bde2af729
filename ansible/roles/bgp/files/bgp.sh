# Makes nodes route reflectors, and no others, with the BGPPeer that has all nodes speak with them; the AS number; the routers' BGPPeers; the
# mesh, on first or off last. What doesn't carry the lab's mark stays. Prints what it changed. The function edit comes before it.
# Usage: bgp.sh REFLECTOR...
set -euo pipefail
if ! nodes=$(calicoctl get nodes --output=json); then exit 1; fi
config=$(calicoctl get bgpconfiguration default --output=json 2>/dev/null || echo '{}')
change() { # WHAT KIND NAME FILTER
	edit "$2" "$3" "$4"
	echo "$1"
}

mesh=$(jq '.spec.nodeToNodeMeshEnabled != false' <<<"$config")
if [ "$MESH" = true ] && [ "$mesh" = false ]; then change "mesh on" BGPConfiguration default '.spec.nodeToNodeMeshEnabled = true'; fi
as=$(jq '.spec.asNumber // 0' <<<"$config") marked=$(jq -r --arg mark "$MARK" '.metadata.annotations[$mark] // ""' <<<"$config")
if [ "$AS" != 0 ] && [ "$as $marked" != "$AS $AS" ]; then
	change "AS $AS" BGPConfiguration default ".spec.asNumber = $AS | .metadata.annotations[\"$MARK\"] = \"$AS\""
elif [ "$AS" = 0 ] && [ -n "$marked" ]; then
	change "Calico's own AS" BGPConfiguration default "del(.spec.asNumber, .metadata.annotations[\"$MARK\"])"
fi
peer=$(calicoctl get bgppeer "$PEER_NAME" --output=json 2>/dev/null | jq --compact-output --sort-keys .spec) || peer=
if [ -n "$PEER" ] && [ "$peer" != "$(jq --compact-output --sort-keys .spec <<<"$PEER")" ]; then
	calicoctl apply --filename=- <<<"$PEER"
fi
while read -r router; do
	name=$(jq --raw-output .metadata.name <<<"$router")
	is=$(calicoctl get bgppeer "$name" --output=json 2>/dev/null | jq --compact-output --sort-keys .spec) || is=
	if [ "$is" != "$(jq --compact-output --sort-keys .spec <<<"$router")" ]; then calicoctl apply --filename=- <<<"$router"; fi
done < <(jq --compact-output '.[]' <<<"$ROUTERS")
for name in $(jq --raw-output '.items[].metadata.name' <<<"$nodes"); do
	is=$(jq --raw-output --arg name "$name" --arg mark "$LABEL" '.items[] | select(.metadata.name == $name)
		| "\(.metadata.labels[$mark] // "") \(.spec.bgp.routeReflectorClusterID // "")"' <<<"$nodes")
	if [[ " $* " == *" $name "* ]]; then
		if [ "$is" != "true $CLUSTER_ID" ]; then
			change "$name reflects" Node "$name" ".spec.bgp.routeReflectorClusterID = \"$CLUSTER_ID\" | .metadata.labels[\"$LABEL\"] = \"true\""
		fi
	elif [[ "$is" == true* ]]; then
		change "$name doesn't reflect" Node "$name" "del(.spec.bgp.routeReflectorClusterID, .metadata.labels[\"$LABEL\"])"
	fi
done
if [ -z "$PEER" ] && [ -n "$peer" ]; then calicoctl delete bgppeer "$PEER_NAME"; fi
if [ "$MESH" = false ] && [ "$mesh" = true ]; then change "mesh off" BGPConfiguration default '.spec.nodeToNodeMeshEnabled = false'; fi

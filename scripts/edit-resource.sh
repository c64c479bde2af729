# shellcheck shell=bash
# edit KIND NAME FILTER applies one of Calico's resources as jq's FILTER makes it; one that isn't there begins empty. Another's change in
# between is no error: it is read again.
edit() {
	local is try
	for try in 1 2 3; do
		if ! is=$(calicoctl get "$1" "$2" --output=json 2>/dev/null); then
			is=$(jq --null-input --arg kind "$1" --arg name "$2" '{apiVersion: "projectcalico.org/v3", $kind, metadata: {$name}, spec: {}}')
		fi
		if jq "$3" <<<"$is" | calicoctl apply --filename=- >/dev/null; then return; fi
	done
	echo "$1 $2 could not be changed, $try times" >&2
	return 1
}

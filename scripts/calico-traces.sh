# shellcheck shell=bash
# Sourced. What Calico makes in a machine's kernel can carry no mark of the lab's: interfaces, chains and sets are named cali...,
# rules elsewhere have a comment cali:, routes are BIRD's. So machine-mark.sh keeps what is there before the lab is, and
# machine-undo.sh leaves that.
PATH=$PATH:/usr/sbin:/sbin # an ordinary user's may lack them

# traces prints what there is, a line each: "link NAME", "route ROUTE", "set NAME", "iptables TABLE RULE", "ip6tables TABLE RULE".
traces() {
	# Of whatever type: Felix takes away routes through any interface with such a name.
	ip -oneline link show | sed -n 's/^[0-9]*: \(cali[^@: ]*\)[@:].*/link \1/p'
	# 12 is RTPROT_BIRD. How a link is at the moment is no part of the route.
	ip -oneline route show proto 12 | sed -E 's/( (linkdown|dead))+ *$//; s/ *$//; s/^/route /'
	if command -v ipset >/dev/null; then ipset list --name | sed -n 's/^cali/set &/p'; fi
	local iptables table
	for iptables in iptables ip6tables; do
		if ! command -v "$iptables-save" >/dev/null; then continue; fi
		for table in raw mangle nat filter; do
			{ "$iptables-save" --table "$table" 2>/dev/null || true; } |
				sed -nE "/^:cali-|^-A cali-|--comment \"?cali:/{s/^(:[^ ]+ [^ ]+) .*/\\1/; s/^/$iptables $table /; p}"
		done
	done
}

# remove_traces BEFORE removes what traces prints and the file BEFORE doesn't have. What stays it prints, with the reason.
remove_traces() {
	local now line
	local -a sets=()
	now=$(traces | grep -vxFf "$1" || true)
	if [ -z "$now" ]; then return; fi
	if pgrep -x calico-node >/dev/null || pgrep -x calico-felix >/dev/null; then
		echo "interfaces, firewall chains and routes of Calico's stay: a Calico that isn't the lab's runs here"
		return
	fi
	while read -r line; do
		case $line in
		"link "*) # Calico makes no others.
			if [ -n "$(ip -oneline link show dev "${line#link }" type veth 2>/dev/null)" ]; then ip link del "${line#link }" 2>/dev/null || true; fi
			;;
		"set "*) sets+=("${line#set }") ;;
		"route "*)
			if pgrep -x bird >/dev/null; then
				echo "${line} stays: a BIRD that isn't the lab's runs here"
			else
				# The line is several words. With its interface a route may have gone already.
				# shellcheck disable=SC2086
				ip route del ${line#route } proto 12 2>/dev/null || true
			fi
			;;
		esac
	done <<<"$now"
	remove_rules iptables "$now"
	remove_rules ip6tables "$now"
	if [ "${#sets[@]}" -gt 0 ]; then remove_sets "${sets[@]}"; fi
}

# remove_rules PROGRAM TRACES: no line of a table but these is touched, each table in one step.
remove_rules() {
	local table rules
	for table in raw mangle nat filter; do
		rules=$(sed -n "s/^$1 $table //p" <<<"$2")
		if [ -z "$rules" ]; then continue; fi
		# Naming a chain empties it; one that rules of the user's lead to can't go.
		{
			echo "*$table"
			sed -nE 's/^(:[^ ]+) .*/\1 - [0:0]/p' <<<"$rules"
			sed -n '/^-A cali-/!s/^-A /-D /p' <<<"$rules"
			sed -nE 's/^:([^ ]+) .*/-X \1/p' <<<"$rules"
			echo COMMIT
		} | "$1-restore" --noflush 2>/dev/null || echo "Calico's chains in the table $table of $1 stay: something else uses them"
	done
}

# remove_sets NAME...: the kernel lets go of a set a moment after the last rule that used it, and of sets in a set after that one.
remove_sets() {
	local -a left=("$@") busy
	local set
	for _ in {1..50}; do
		busy=()
		for set in "${left[@]}"; do ipset destroy "$set" 2>/dev/null || busy+=("$set"); done
		if [ "${#busy[@]}" -eq 0 ]; then return; fi
		left=("${busy[@]}")
		read -r -t 0.1 <> <(:) || true
	done
	echo "ipset ${left[*]} stays: something else uses it"
}

# shellcheck shell=bash
# Takes the journal's paths back. note-original.sh comes before it. Each step may be the last: the saved copy of what was there
# before the lab stays until it is back, and nothing is removed or replaced that isn't as the lab put it there.

# restore PATH...: takes back those of the paths that are in the journal, in this order. It prints what stays, and why; it fails
# after the last one if something couldn't be done, which is in the journal still.
restore() {
	local path failed=0
	for path; do
		if [ -n "${entry[$path]-}" ]; then
			take_back "$path" "${entry[$path]}" && drop "$path" || failed=1
		fi
	done
	return $failed
}

# restore_all takes everything back, the last first.
restore_all() {
	local e path
	local -A at=()
	local -a all=()
	for path in "${!entry[@]}"; do at[${entry[$path]}]=$path; done
	for e in "${journal:?}"/[0-9]*; do
		if [ -n "${at[$e]-}" ]; then all=("${at[$e]}" "${all[@]}"); fi
	done
	restore "${all[@]}"
}

# take_back PATH ENTRY
take_back() {
	local path=$1 e=$2 now
	if [[ $path == */ ]]; then
		if ! is_dir "${path%/}"; then return 0; fi
		rmdir --ignore-fail-on-non-empty -- "$path" || return
		if [ -d "$path" ]; then stays "$path" "something else is in it now"; fi
		return 0
	fi
	if [ -e "$e/filled" ]; then
		local IFS=
		# A pattern.
		# shellcheck disable=SC2086
		rm -rf --one-file-system -- $path
		return
	fi
	rm -rf -- "$path.calico-cni-lab-part" "$path.calico-cni-lab-old" || return
	now=$(fingerprint "$path") || return
	if [ ! -e "$e/put" ]; then return 0; fi
	if [ -n "$now" ] && ! grep -qxF -e "$now" -- "$e/put"; then
		leave_changed "$path" "$e"
	elif exists "$e/original"; then
		put_back "$e/original" "$path"
	elif is_dir "$path"; then
		# Under another name, what an interruption leaves of it is still known as the lab's.
		mv -T -- "$path" "$path.calico-cni-lab-old" && rm -rf -- "$path.calico-cni-lab-old"
	else
		rm -f -- "$path"
	fi
}

# leave_changed PATH ENTRY: what is at the path is neither the lab's nor unchanged: it stays, and what was there before the lab comes
# beside it. It may also be that: an undo was interrupted just after it was back.
leave_changed() {
	local path=$1 original=$2/original beside
	if ! exists "$original"; then
		stays "$path" "it was changed since the lab put it there"
		return
	fi
	if same "$original" "$path"; then return; fi
	beside=$(beside "$original" "$path.before-calico-cni-lab")
	put_back "$original" "$beside" || return
	stays "$path" "it was changed since the lab put it there; what was there before is in $(printf %q "$beside")"
}

# put_back ORIGINAL PATH: copies it there, whole and on the disk before it gets its name.
put_back() {
	local part=$2.calico-cni-lab-part
	if same "$1" "$2"; then return; fi
	rm -rf -- "$part" && mkdir -p -- "${2%/*}/" && cp -a -- "$1" "$part" && sync -f "${2%/*}/" && replace "$part" "$2" && sync -- "${2%/*}/"
}

# stays PATH WHY
stays() { printf '%q stays: %s\n' "$1" "$2"; }

# leave removes what the lab kept on the machine, once the journal is empty. What else is in its home isn't this lab's: the machine
# may be a computer with labs of its own.
leave() {
	local e home=${journal%/*}
	for e in "$journal"/[0-9]*; do
		if [ -e "$e" ]; then return 1; fi
	done
	rm -rf -- "$journal.gone" && mv -T -- "$journal" "$journal.gone" && rm -rf -- "$journal.gone" "$home"/{put,sums,sums.*,go-tree,look-*} &&
		rmdir --ignore-fail-on-non-empty -- "$home"
}

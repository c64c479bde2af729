#!/bin/bash
# Puts files and symbolic links in their places, each in one step, so that nobody ever sees half of one; none before all have
# arrived and are whole. note-original.sh comes before it.
# Usage: put-files.sh [--gzip]        with a tar at standard input
# The tar has a file "manifest" with six fields for each file, each field with a zero byte at its end:
#   stream PATH MODE OWNER SHA256 ""        the contents are in the tar, in an entry that is named for the file's number, from 0
#   share  PATH MODE OWNER SHA256 SOURCE    the contents are in SOURCE, which this machine sees
#   link   PATH ""   ""    ""     TARGET    a symbolic link
set -euo pipefail
umask 022
work=/var/lib/calico-cni-lab/put
[ -d "$work" ] || mkdir -p "$work"

# Each run locks a directory of its own. One that nobody has locked was left by a run that was killed.
exec 7>>"$work/lock"
flock 7
for old in "$work"/run.*; do
	if [ -d "$old" ] && { exec 8<"$old"; } 2>/dev/null && flock --nonblock 8; then
		if [ -f "$old/part" ]; then rm -f -- "$(<"$old/part")"; fi
		rm -rf -- "$old"
	fi
done
stage=$(mktemp -d "$work/run.XXXXXXXX")
exec 8<"$stage"
flock 8
exec 7>&-
part=
trap 'rm -rf -- "$stage" ${part:+"$part"}' EXIT
cd "$stage"
tar --extract "$@" --no-same-owner --touch
mapfile -d '' -t fields <manifest

paths=() dirs=() regular=() prints=()
declare -A with_mode=() with_owner=()
for ((i = 0; i < ${#fields[@]}; i += 6)); do
	n=$((i / 6))
	path=${fields[i + 1]} source=${fields[i + 5]}
	paths+=("$path")
	dirs+=("${path%/*}/")
	case ${fields[i]} in
	link)
		ln --symbolic -- "$source" "$n"
		prints+=("$(fingerprint "$n")")
		continue
		;;
	share) cp -- "$source" "$n" ;;
	esac
	regular+=("$n")
	prints+=("file ${fields[i + 4]}")
	with_mode[${fields[i + 2]}]+=" $n"
	with_owner[${fields[i + 3]}]+=" $n"
done

if [ ${#regular[@]} -gt 0 ]; then
	mapfile -t sums < <(sha256sum -- "${regular[@]}")
	for k in "${!regular[@]}"; do
		n=${regular[k]} got=${sums[k]-}
		if [ "${got%% *}" != "${fields[n * 6 + 4]}" ]; then
			echo "${paths[n]} arrived damaged: its SHA-256 is ${got%% *}, not ${fields[n * 6 + 4]}" >&2
			exit 1
		fi
	done
	# The lists are of numbers.
	# shellcheck disable=SC2086
	for owner in "${!with_owner[@]}"; do chown -- "$owner" ${with_owner[$owner]}; done
	# shellcheck disable=SC2086
	for mode in "${!with_mode[@]}"; do chmod -- "$mode" ${with_mode[$mode]}; done
fi

journal_open
note "${paths[@]}"
for dir in "${dirs[@]}"; do [ -d "$dir" ] || mkdir -p -- "$dir"; done
mapfile -t devices < <(stat --dereference --format=%d -- . "${dirs[@]}")
for n in "${!paths[@]}"; do
	temp=$n
	# Only within a file system a rename is one step.
	if [ "${devices[n + 1]}" != "${devices[0]}" ]; then
		part=${paths[n]}.calico-cni-lab-part
		printf '%s' "$part" >part
		rm -rf -- "$part"
		mv -T -- "$n" "$part"
		temp=$part
	fi
	place "$temp" "${paths[n]}" "${prints[n]}"
	part=
done

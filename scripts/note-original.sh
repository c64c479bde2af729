# shellcheck shell=bash
# Sourced by whatever puts something on a machine. Keeps what is there before the lab first touches a path, and a list of
# the paths in the order of their making, so that machine-undo.sh can take everything back. A directory on the way to a path
# has a slash at its end: it goes if nothing else is in it then.
undo=/var/lib/calico-cni-lab/undo

# note PATH...: to be called before the paths, which may not exist, are made or replaced.
note() {
	mkdir -p "$undo/originals"
	(
		flock 9
		declare -A noted=()
		if [ -f "$undo/paths" ]; then
			while IFS= read -r line; do noted[$line]=1; done <"$undo/paths"
		fi
		for path; do
			if [ -n "${noted[$path]-}" ]; then continue; fi
			# Directories on the way that are not there yet will be the lab's, too. Each is listed once, before what is in it.
			new=()
			parent=${path%/}
			parent=${parent%/*}
			while [ -n "$parent" ] && [ ! -e "$parent" ]; do
				if [ -z "${noted[$parent/]-}" ]; then new=("$parent/" "${new[@]}"); fi
				parent=${parent%/*}
			done
			if [ -e "$path" ] || [ -L "$path" ]; then
				cp -a -- "$path" "$undo/originals/part"
				mv -fT -- "$undo/originals/part" "$undo/originals/${path//\//%}"
			fi
			for line in "${new[@]}" "$path"; do
				noted[$line]=1
				printf '%s\n' "$line"
			done >>"$undo/paths"
		done
	) 9>>"$undo/lock"
}

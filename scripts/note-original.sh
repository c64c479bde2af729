# shellcheck shell=bash
# Sourced by whatever puts something on a machine. Keeps what is there before the lab first touches a path, and a list of
# the paths in the order of their making, so that machine-undo.sh can take everything back. A directory on the way to a path
# has a slash at its end: it goes if nothing else is in it then.
undo=/var/lib/calico-cni-lab/undo

# note PATH: to be called before PATH, which may not exist, is made or replaced.
note() {
	local parent
	mkdir -p "$undo/originals"
	(
		flock 9
		if grep -qxF -- "$1" "$undo/paths" 2>/dev/null; then exit; fi
		# Directories on the way that are not there yet will be the lab's, too.
		parent=$(dirname "$1")
		new=()
		while [ ! -e "$parent" ]; do
			new=("$parent/" "${new[@]}")
			parent=$(dirname "$parent")
		done
		if [ ${#new[@]} -gt 0 ]; then printf '%s\n' "${new[@]}" >>"$undo/paths"; fi
		if [ -e "$1" ] || [ -L "$1" ]; then
			cp -a -- "$1" "$undo/originals/part"
			mv -fT -- "$undo/originals/part" "$undo/originals/${1//\//%}"
		fi
		printf '%s\n' "$1" >>"$undo/paths"
	) 9>>"$undo/lock"
}

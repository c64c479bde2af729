# shellcheck shell=bash
# Sourced by whatever puts something on a machine. Keeps a journal of the paths that the lab touches, in the order of their
# making, so that restore-originals.sh can take everything back, whatever was interrupted on the way. An entry is a directory:
#   path       the path, with a slash at its end if it is a directory on the way to others; it goes if nothing is in it then
#   original   what was there before the lab; not there if nothing was
#   put        what the lab put there, a line for each (see fingerprint); without it the lab has not touched the path yet
#   filled     instead: the path is a pattern, and what matches it was made by programs of the lab
# Entries come and go by one rename each. Beside a path the lab uses two names of its own: PATH.calico-cni-lab-part for what is
# not whole yet, PATH.calico-cni-lab-old for what is on its way out.
journal=/var/lib/calico-cni-lab/journal
declare -A entry=() # by path

# journal_open locks the journal and reads it.
journal_open() {
	local e path
	if [ -e "${journal%/*}/undo" ]; then
		echo "${journal%/*}/undo was kept by an older version of the lab, which alone can take it back: go tool mage destroy of that version" >&2
		return 1
	fi
	# shellcheck disable=SC2174 # the directories above it anybody may enter
	[ -d "$journal" ] || mkdir -p -m 700 -- "$journal"
	exec 9>>"$journal/lock"
	flock 9
	if [ -e "$journal/part" ] || [ -e "$journal/gone" ]; then rm -rf -- "$journal/part" "$journal/gone"; fi
	entry=()
	for e in "$journal"/[0-9]*; do
		path=
		if [ -f "$e/path" ]; then IFS= read -r -d '' path <"$e/path" || true; fi
		if [ -n "$path" ]; then entry[$path]=$e; fi
	done
}

journal_close() { exec 9>&-; }

# drop PATH: takes it out of the journal.
drop() {
	rm -rf -- "$journal/gone" && mv -T -- "${entry[$1]}" "$journal/gone" && entry[$1]= && rm -rf -- "$journal/gone"
}

exists() { [ -e "$1" ] || [ -L "$1" ]; }

is_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }

# note PATH...: to be called before the paths, which may not exist, are made or replaced.
note() {
	local path parent line e
	local -a new=() dirs
	local -A listed=()
	for path; do
		e=${entry[$path]-}
		# Where nothing was put yet, what is there now is what was there before the lab.
		if [ -n "$e" ] && [ ! -e "$e/put" ]; then
			drop "$path"
			e=
		fi
		if [ -n "$e" ] || [ -n "${listed[$path]-}" ]; then continue; fi
		# Directories on the way that are not there yet will be the lab's, too. Each is listed once, before what is in it.
		dirs=()
		parent=${path%/}
		parent=${parent%/*}
		while [ -n "$parent" ] && [ ! -e "$parent" ]; do
			if [ -z "${entry[$parent/]-}${listed[$parent/]-}" ]; then dirs=("$parent/" "${dirs[@]}"); fi
			parent=${parent%/*}
		done
		for line in "${dirs[@]}" "$path"; do
			listed[$line]=1
			new+=("$line")
		done
	done
	if [ ${#new[@]} -gt 0 ]; then append "${new[@]}"; fi
}

# list PATH: to be called before something is made beside the path, under the lab's names, that takes a while. note saves what is at it.
list() { unsaved=1 note "$1"; }

# note_filled PATTERN...: to be called before programs make what matches the patterns. What matches already isn't the lab's.
note_filled() {
	local pattern
	for pattern; do
		if [ -n "${entry[$pattern]-}" ] || compgen -G "${pattern%/}" >/dev/null; then continue; fi
		filled=1 note "$pattern"
	done
}

# append PATH...: adds entries, with what is at the paths now. Copies are whole and on the disk before an entry is there.
append() {
	local path e n=0 saved=
	local -a made=()
	for e in "$journal"/[0-9]*; do n=${e##*/}; done
	if [[ $n == *[!0-9]* ]]; then n=0; fi
	n=$((10#$n))
	for path; do
		printf -v e %06d $((++n))
		made+=("$journal/part/$e")
		entry[$path]=$journal/$e
	done
	mkdir -p -- "${made[@]}"
	for path; do
		e=$journal/part/${entry[$path]##*/}
		printf %s "$path" >"$e/path"
		if [[ $path == */ ]] || [ -n "${unsaved-}" ]; then continue; fi
		if [ -n "${filled-}" ]; then
			: >"$e/filled"
		elif exists "$path"; then
			cp -a -- "$path" "$e/original"
			saved=1
		fi
	done
	if [ -n "$saved" ]; then sync -f "$journal"; fi
	mv -t "$journal" -- "${made[@]}"
	rmdir -- "$journal/part"
}

# place NEW PATH FINGERPRINT: puts NEW, which is in the same directory and has this fingerprint, at a path that is noted.
place() {
	printf '%s\n' "$3" >>"${entry[$2]}/put"
	keep_changed "$2" && replace "$1" "$2"
}

# changed PATH: something is there that neither the lab has put there nor was there before.
changed() {
	local now e=${entry[$1]}
	now=$(fingerprint "$1") && [ -n "$now" ] && ! grep -qxF -e "$now" -- "$e/put" && ! same "$e/original" "$1"
}

# keep_changed PATH: to be called before something takes the place of what is there. On a machine that existed before the lab, what
# a user has changed gets a name beside the path, which is printed. It is there already where this was interrupted.
keep_changed() {
	local beside
	if [ ! -e "${journal%/*}/mark" ] || ! changed "$1"; then return 0; fi
	beside=$(beside "$1" "$1.changed-calico-cni-lab")
	if is_dir "$1"; then
		mv -T -- "$1" "$beside" || return
	elif ! exists "$beside"; then
		ln -PT -- "$1" "$beside" || return
	fi
	printf '%q was changed since the lab put it there; what it was is in %q\n' "$1" "$beside"
}

# beside WHAT NAME: prints the name, with a number at its end where something else than WHAT has it.
beside() {
	local name=$2 n=1
	while exists "$name" && ! same "$1" "$name"; do name=$2.$((++n)); done
	printf %s "$name"
}

# same A B: both are there, and alike in contents, mode, owner and time.
same() {
	local a b
	exists "$1" && exists "$2" || return
	a=$(fingerprint "$1" && stat --format='%f %u:%g %Y' -- "$1") && b=$(fingerprint "$2" && stat --format='%f %u:%g %Y' -- "$2") && [ "$a" = "$b" ]
}

# fingerprint PATH: prints what is there, in a line: of a file its SHA-256, of a link its target, of a directory a sum over
# what is in it by name, mode, owner, size and time. It prints nothing where nothing is.
fingerprint() {
	local sum
	if [ -L "$1" ]; then
		sum=$(readlink -n -- "$1" && echo .)
		printf 'link %q\n' "${sum%.}"
	elif [ -f "$1" ]; then
		sum=$(sha256sum <"$1") && echo "file ${sum%% *}"
	elif [ -d "$1" ]; then
		sum=$(find "$1" -mindepth 1 \( -type d -printf '%P/ %m %U:%G\0' -o -printf '%P %y %m %U:%G %s %T@ %l\0' \) | LC_ALL=C sort -z | sha256sum) &&
			echo "tree ${sum%% *}"
	elif [ -e "$1" ]; then
		stat --format='%F %t:%T' -- "$1"
	fi
}

# replace NEW PATH: puts NEW, which is in the same directory, at the path; what is there goes. Only a rename of directories is more
# than one step.
replace() {
	local old=$2.calico-cni-lab-old
	if ! is_dir "$1" && ! is_dir "$2"; then
		mv -fT -- "$1" "$2"
		return
	fi
	rm -rf -- "$old" || return
	if exists "$2"; then mv -T -- "$2" "$old" || return; fi
	mv -T -- "$1" "$2" && rm -rf -- "$old"
}

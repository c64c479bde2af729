#!/bin/bash
# Prints the number on this computer of a machine's root, the first of the machine's users. The machine keeps it; new, it is the first
# of a range from WANTED on that no user here has, may map into a namespace of their own, or another machine has.
# Usage: nspawn-users.sh DIR ETC FIRST SIZE RANGES WANTED
#   DIR  the machine's directory      FIRST SIZE RANGES  users from FIRST on are there in as many ranges of that size
#   ETC  /etc                         WANTED             the number of a range
set -euo pipefail
shopt -s nullglob
dir=$1 etc=$2 first=$3 size=$4 ranges=$5 wanted=$6
labs=$(dirname "$(dirname "$dir")")

exec 9<"$labs" # as nspawn-claim.sh does
flock 9
if [ ! -e "$dir/users" ]; then
	{
		awk -F: '{ print $3, 1 }' "$etc"/{passwd,group}
		awk -F: '{ print $2, $3 }' /dev/null "$etc"/sub[ug]id
		# Some may be on their way out.
		awk -v size="$size" '{ print $1, size }' <(cat /dev/null "$labs"/*/*/users 2>/dev/null)
	} | awk -v first="$first" -v size="$size" -v ranges="$ranges" -v wanted="$wanted" '
		$1 ~ /^[0-9]+$/ && $2 ~ /^[0-9]+$/ && $1 + $2 > first {
			for (i = $1 < first ? 0 : int(($1 - first) / size); i < ranges && first + i * size < $1 + $2; i++) taken[i] = 1
		}
		END {
			for (n = 0; n < ranges; n++) {
				i = (wanted + n) % ranges
				if (!(i in taken)) {
					printf "%d\n", first + i * size
					exit
				}
			}
		}' >"$dir/users.part"
	if [ ! -s "$dir/users.part" ]; then
		echo "no $size users in a row are left from $first on; $etc/subuid, $etc/subgid and the labs' machines have them" >&2
		exit 1
	fi
	mv -T "$dir/users.part" "$dir/users"
fi
cat "$dir/users"

#!/bin/bash
# Raises limits of this computer's kernel to the largest that one of its labs needs, and puts back those that no lab needs any more to what
# they were. One that somebody else has changed meanwhile stays as he left it. Prints what it changes.
# Usage: nspawn-limits.sh LABDIR PROCSYS [NAME NEED]...
#   LABDIR   the lab's directory; without needs it has none any more
#   PROCSYS  /proc/sys
set -euo pipefail
shopt -s nullglob
labdir=$1 procsys=$2
shift 2
labs=$(dirname "$labdir")
kept=$labs/.limits # a file for each limit that was raised: what it was, and what it is now

exec 9<"$labs" # as nspawn-claim.sh does
flock 9
if (($# > 0)); then
	printf '%s %s\n' "$@" >"$labdir/limits.part"
	mv -T "$labdir/limits.part" "$labdir/limits"
else
	rm -f "$labdir/limits"
fi
names=("$kept"/*)
names=("${names[@]##*/}")
while (($# > 0)); do
	names+=("$1")
	shift 2
done
for name in $(printf '%s\n' "${names[@]}" | sort -u); do
	file=$procsys/${name//.//}
	if [ ! -e "$file" ]; then continue; fi
	is=$(<"$file") was=$is
	if [ -e "$kept/$name" ]; then
		read -r before raised <"$kept/$name"
		if [ "$is" = "$raised" ]; then was=$before; fi
	fi
	# Root may be removing a lab by hand.
	want=$(awk -v name="$name" -v most="$was" '$1 == name && $2 > most { most = $2 } END { print most }' <(cat /dev/null "$labs"/*/limits 2>/dev/null))
	if [ "$want" != "$was" ]; then
		mkdir -p "$kept"
		echo "$was $want" >"$kept/$name"
	fi
	if [ "$want" != "$is" ]; then
		echo "$want" >"$file"
		if [ "$want" = "$was" ]; then
			echo "$name is $want again, as before"
		else
			echo "$name is $want now, not $is; go tool mage destroy puts it back"
		fi
	fi
	if [ "$want" = "$was" ]; then rm -f "$kept/$name"; fi
done
if [ -d "$kept" ]; then rmdir --ignore-fail-on-non-empty "$kept"; fi

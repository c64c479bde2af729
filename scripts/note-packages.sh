#!/bin/sh
# Notes which Debian packages a tree was made from, while apt has the archive's lists: dpkg knows no checksums of packages.
# Usage: note-packages.sh ROOT
# var/lib/dpkg/lab-packages then has a line for each: name, version, architecture, SHA-256 of the package, or - where no list has it.
set -eu
root=$1 list=$1/var/lib/dpkg/lab-packages
# shellcheck disable=SC2016 # these are dpkg's
chroot "$root" dpkg-query --show --showformat='${Package} ${Version} ${Architecture}\n' >"$list.have"
while read -r name version _; do echo "$name=$version"; done <"$list.have" | xargs chroot "$root" apt-cache show >"$list.known" 2>/dev/null || true # those that it doesn't know
awk 'FILENAME == ARGV[1] {
		if ($1 == "Package:") name = $2
		if ($1 == "Version:") version = $2
		if ($1 == "Architecture:") arch = $2
		if ($1 == "SHA256:") sum[name, version, arch] = $2
		next
	}
	{ print $1, $2, $3, ($1, $2, $3) in sum ? sum[$1, $2, $3] : "-" }' "$list.known" "$list.have" >"$list.part"
rm "$list.have" "$list.known"
mv "$list.part" "$list"

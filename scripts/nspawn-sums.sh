#!/bin/bash
# Writes what the look program keeps of files (magefiles/internal/fact/look/files.go): their state and SHA-256, by the paths that
# they have on a machine of whose root ROOT is a layer. An overlay shows a lower file's inode, size and times.
# Usage: nspawn-sums.sh ROOT FILE       standard input: SHA-256, a tab, path
set -euo pipefail
root=$1 file=$2

mkdir -p "${file%/*}"
while IFS=$'\t' read -r sum path; do
	printf '%s\t%s %s\n' "$path" "$(stat --format='%i %s %.9Y %.9Z' -- "$root$path")" "$sum"
done >"$file"

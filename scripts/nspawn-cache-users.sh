#!/bin/bash
# Prints the owners of the labs that have layers in a cache, each once.
# Usage: nspawn-cache-users.sh LABS CACHE
set -euo pipefail
shopt -s nullglob
for lab in "$1"/*/; do
	machines=("$lab"*/layers)
	if ((${#machines[@]} == 0)); then continue; fi
	# Status 1 is none. Another one, such as that of a file that has just gone, is no answer.
	on=$(grep -lF -- "$2/" "${machines[@]}") || (($? == 1))
	if [ -n "$on" ]; then head -n 1 "$lab/owner"; fi
done

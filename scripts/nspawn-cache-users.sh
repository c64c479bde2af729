#!/bin/bash
# Prints the owners of the labs that have layers in a cache, each once.
# Usage: nspawn-cache-users.sh LABS CACHE
set -euo pipefail
shopt -s nullglob
for lab in "$1"/*/; do
	if cat "$lab"*/layers 2>/dev/null | tr : '\n' | grep -qF -- "$2/"; then head -n 1 "$lab/owner"; fi
done

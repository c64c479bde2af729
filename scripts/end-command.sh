#!/bin/bash
# Ends a command on this machine that nobody waits for any more, with its children: the end of an SSH session ends none.
# Usage: bash -s, with a line "set -- MARK" before this script
#   MARK    an argument of the command's timeout(1), which passes the signal on, and kills later. As an argument of bash it would
#           be one of the timeout as well that this script runs under, and whichever comes first in /proc would be ended.
set -euo pipefail
mark=$1

for process in /proc/[0-9]*; do
	mapfile -d '' -t words <"$process/cmdline" || continue # it has just ended
	if [ "${words[0]-}" = timeout ] && [[ " ${words[*]} " == *" $mark "* ]]; then kill "${process#/proc/}" || true; fi
done 2>/dev/null

#!/bin/bash
# Runs a command as root, and ends it and what it started when its caller says so or is gone: a user's process can't signal
# root's, and sudo may want a password again by then.
# Usage: bash -c "$(<as-root.sh)" as-root.sh SIGNAL GRACE INPUT COMMAND...
#   SIGNAL  that asks the command to end        INPUT  file that is its standard input
#   GRACE   seconds until it is killed
# Standard input is a pipe from the caller. First come variables for the command, each NAME=VALUE with a zero byte at its end,
# after them an empty one: sudo passes none on, and everybody can read arguments, where a proxy's may have a password. Then
# comes a byte when the command has ended. The pipe's end without it means: end the command.
set -euo pipefail
umask 022 # sudo passes on the user's own, where that is stricter
signal=$1 grace=$2 input=$3
shift 3
exec 9<&0 <"$input"
while IFS= read -r -d '' variable <&9 && [ -n "$variable" ]; do export "${variable?}"; done
read -r _ _ _ _ group _ </proc/$$/stat
(
	# A member of the group, so that nobody else gets its number.
	trap '' HUP INT QUIT TERM
	if read -rn 1 _ <&9; then exit; fi
	kill "-$signal" -- "-$group"
	read -rt "$grace" <> <(:) || true
	kill -KILL -- "-$group"
) </dev/null >/dev/null 2>&1 &
exec "$@" 9<&-

#!/bin/bash
# Looks whether a lab's directory is gone. Prints `gone`, `there`, or `unsure: WHY` or `unknown: WHY`.
# Usage: owner-gone.sh DIR MOUNT         MOUNT: the mount point and the file system that DIR was on; may be empty
set -euo pipefail
export LC_ALL=C
dir=$1 mount=$2

at=$dir
until said=$(stat --dereference -- "$at" 2>&1); do
	case $said in
	*": No such file or directory") at=$(dirname -- "$at") ;;
	*)
		echo "unknown: $said"
		exit
		;;
	esac
done
if [ "$at" = "$dir" ]; then
	echo there
elif [ "$(stat --format=%m -- "$at") $(stat --file-system --format=%i -- "$at")" = "$mount" ]; then
	echo gone
else
	echo "unsure: $at is not on the file system that it was on, which may not be mounted"
fi

#!/bin/bash
# Installs Debian packages on a machine, as its administrator would.
# Usage: bash -s -- PACKAGE...
set -euo pipefail
if ! command -v apt-get >/dev/null; then
	# shellcheck source=/dev/null
	. /etc/os-release
	echo "this is $PRETTY_NAME, where the lab can install nothing; install what these packages of Debian's hold: $*" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
dpkg --configure -a # after an interruption
apt-get -o DPkg::Lock::Timeout=120 -qq update
apt-get -o DPkg::Lock::Timeout=120 -qq install --yes --no-install-recommends "$@" >/dev/null

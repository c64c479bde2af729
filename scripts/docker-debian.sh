#!/bin/sh
# Installs Debian packages in a container and runs the files that come with it. Nothing is installed where the image has them all.
# Usage: docker-debian.sh DIR PACKAGE...
#   DIR  has `served` and `sources`, what apt reads here and what the tree is left with, note-packages, and `setup`, to be run at the end
#        with / as $1
set -eu
dir=$1
shift
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
missing=$(for p; do
	[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
done)
if [ -n "$missing" ]; then
	rm -rf /etc/apt/sources.list.d/*
	cp "$dir/served" /etc/apt/sources.list
	printf '%s\n' 'path-exclude=/usr/share/doc/*' 'path-include=/usr/share/doc/*/copyright' 'path-exclude=/usr/share/man/*' \
		'path-exclude=/usr/share/locale/*' >/etc/dpkg/dpkg.cfg.d/lab
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d # nothing is started here
	chmod 0755 /usr/sbin/policy-rc.d
	apt-get --quiet=2 -o Acquire::Languages=none -o Acquire::Retries=3 update
	# shellcheck disable=SC2086 # one word a package
	apt-get --quiet=2 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold --yes --no-install-recommends install $missing >/dev/null
	sh "$dir/note-packages" /
	apt-get clean
	rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
	rm -f /etc/dpkg/dpkg.cfg.d/lab /usr/sbin/policy-rc.d
	cp "$dir/sources" /etc/apt/sources.list
else
	sh "$dir/note-packages" /
fi
sh "$dir/setup" /
rm -rf "$dir"

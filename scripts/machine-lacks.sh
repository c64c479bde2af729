#!/bin/bash
# Prints what keeps the lab from working on a machine: Debian packages that are missing, or that Docker does not run.
# Nothing printed: nothing is missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# PROGRAM PACKAGE
missing=()
while read -r program package; do
	command -v "$program" >/dev/null || missing+=("$package")
done <<'END'
docker docker.io
ip iproute2
iptables iptables
ipset ipset
jq jq
curl curl
ps procps
END
if [ ${#missing[@]} -gt 0 ]; then
	echo "packages are missing: ${missing[*]}"
elif ! systemctl is-active --quiet docker; then
	echo "Docker does not run"
fi

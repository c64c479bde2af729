#!/bin/bash
# Takes back what the stages did on a machine that carries the lab's mark: containers, images, volumes, routes, interfaces, firewall
# chains, files. What is gone already is no error, so it can be run again. Prints what stays. calico-traces.sh, note-original.sh and
# restore-originals.sh come before it.
# Usage: machine-undo.sh MARK
set -euo pipefail
home=/var/lib/calico-cni-lab

if [ ! -e "$home/mark" ] || [ "$(<"$home/mark")" != "$1" ]; then
	echo "nothing was done here: the machine doesn't carry this lab's mark ($home/mark)"
	exit
fi

exec 6<"$home"
if ! flock --timeout 60 6; then
	echo "a run that was cut off is still at work here; try again in a minute" >&2
	exit 1
fi

# What has the lab's label is the lab's. What something else uses stays. A Docker that its owner has stopped is stopped again.
undo_docker() (
	if ! command -v docker >/dev/null; then exit; fi
	stopped=()
	for unit in docker.socket docker.service containerd.service; do
		if ! systemctl is-active --quiet "$unit"; then stopped+=("$unit"); fi
	done
	if [ ${#stopped[@]} -gt 0 ]; then trap 'systemctl stop "${stopped[@]}" 2>/dev/null || true' EXIT; fi
	systemctl start docker
	docker ps --all --quiet --filter label=calico-cni-lab.part | xargs -r docker rm --force >/dev/null
	for name in $(docker volume ls --quiet --filter label=calico-cni-lab.part); do
		docker volume rm "$name" >/dev/null 2>&1 || echo "volume $name stays: something else uses it"
	done
	for name in $(docker image ls --format '{{.Repository}}:{{.Tag}}' --filter label=calico-cni-lab.image 'calico-cni-lab/*'); do
		docker image rm "$name" >/dev/null 2>&1 || echo "image $name stays: a container that isn't the lab's was made from it"
	done
)
undo_docker
remove_traces "$home/before"

journal_open
restore_all
leave
# The mark goes last: as long as it is there, this is to be finished.
rm -f "$home/before"
rm -f "$home/mark"
rmdir --ignore-fail-on-non-empty "$home"

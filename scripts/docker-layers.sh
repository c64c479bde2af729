#!/bin/bash
# Loads images into a Docker store that machines can share, in a container of the box: what is large lies in the container's own
# file system, which becomes a layer of the machines' image, and /var/lib/docker, which is copied to a volume of each, has links to it.
# Usage: docker-layers.sh DIR        DIR: a volume with the archives, *.tar
set -euo pipefail
dir=$1 layers=/usr/lib/lab/layers
mkdir -p /run/lab-store
dockerd --data-root="$dir/docker" --exec-root=/run/lab-store --host=unix:///run/lab-store/docker.sock --pidfile=/run/lab-store/pid \
	--bridge=none --iptables=false --ip-forward=false >"$dir/log" 2>&1 &
dockerd=$!
export DOCKER_HOST=unix:///run/lab-store/docker.sock
for _ in $(seq 600); do
	docker version >/dev/null 2>&1 && break
	if ! kill -0 "$dockerd" 2>/dev/null; then
		tail -n 5 "$dir/log" >&2
		exit 1
	fi
	sleep 0.05
done
for archive in "$dir"/*.tar; do docker load --quiet --input "$archive"; done
kill "$dockerd"
wait "$dockerd" || true

rm -rf "$layers" /var/lib/docker /run/lab-store
mkdir -p "$layers" /var/lib/docker/overlay2
cp -a "$dir/docker/image" /var/lib/docker/
cp -a "$dir/docker/overlay2/l" /var/lib/docker/overlay2/
for layer in "$dir"/docker/overlay2/*; do
	id=${layer##*/}
	if [ "$id" = l ] || ! [ -d "$layer/diff" ]; then continue; fi
	cp -a "$layer/diff" "$layers/$id"
	mkdir "/var/lib/docker/overlay2/$id"
	ln -s "$layers/$id" "/var/lib/docker/overlay2/$id/diff"
	find "$layer" -mindepth 1 -maxdepth 1 -type f -exec cp -a {} "/var/lib/docker/overlay2/$id/" \;
done

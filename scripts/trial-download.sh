# shellcheck shell=bash
# Downloads from $3, TCP port $4, in the sandbox $1 of the container $2, and prints how many bytes came; $5 is how many seconds without any
# are too many.
set -euo pipefail
nsenter --net="$1" ip route flush cache
for _ in {1..20}; do
	n=$(docker exec "$2" timeout $((4 * $5)) socat -u -T"$5" "TCP:$3:$4,connect-timeout=$5" - 2>/dev/null | wc -c) || true
	if [ "$n" -gt 0 ]; then break; fi
	# Nobody listens yet, or nothing came.
	read -r -t 0.1 <> <(:) || true
	if [ "$SECONDS" -ge "$5" ]; then break; fi
done
echo "$n"

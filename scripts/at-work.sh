# shellcheck shell=bash
# Comes before what changes a machine. A run that was killed here leaves it at work there; machine-undo.sh waits for its end.
umask 022
[ -d /var/lib/calico-cni-lab ] || mkdir -p /var/lib/calico-cni-lab
exec 6</var/lib/calico-cni-lab
flock --shared 6

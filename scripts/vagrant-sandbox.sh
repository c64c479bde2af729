#!/bin/bash
# Runs a command where libvirt has everything to itself: a network namespace without a way out, a libvirtd with its own
# configuration and files, which ends with the command, as does everything that it started. As root.
# Usage: vagrant-sandbox.sh DIR COMMAND...         DIR: an empty directory for libvirt's files
set -euo pipefail
dir=$1
shift

if [ "${IN_NAMESPACE:-}" != yes ]; then
	netns=calico-cni-lab-vagrant-$$
	trap 'ip netns del "$netns"' EXIT
	ip netns add "$netns"
	ip -n "$netns" link set lo up
	# Whoever ends this script ends the first process of the PID namespace, and with it all the others.
	IN_NAMESPACE=yes ip netns exec "$netns" unshare --mount --pid --fork --kill-child --mount-proc bash "$0" "$dir" "$@"
	exit
fi

mount --make-rprivate /
for name in lib cache log; do
	install -d "$dir/$name" "/var/$name/libvirt"
	mount --bind "$dir/$name" "/var/$name/libvirt"
done
install -d "$dir/etc" "$dir/lib/images" "$dir/lib/boot" /etc/libvirt /run/libvirt
cp -a /etc/libvirt/. "$dir/etc/"
mount --bind "$dir/etc" /etc/libvirt
mount -t tmpfs tmpfs /run/libvirt
# Without these: 50 s more for every machine, 'Failed to create PTY', and a virtlogd that isn't there.
cat >/etc/libvirt/qemu.conf <<'END'
user = "root"
group = "root"
namespaces = []
stdio_handler = "file"
END
# Whoever called sudo may use it, as a user in the group libvirt may elsewhere.
cat >/etc/libvirt/libvirtd.conf <<'END'
unix_sock_rw_perms = "0777"
auth_unix_ro = "none"
auth_unix_rw = "none"
END
as_user=()
if [ -n "${SUDO_UID:-}" ]; then as_user=(setpriv --reuid="$SUDO_UID" --regid="$SUDO_GID" --init-groups); fi
# No network that starts by itself.
rm -rf /etc/libvirt/qemu/networks
if [ -d /run/dbus ]; then mount -t tmpfs tmpfs /run/dbus; fi

libvirtd --timeout 0 >"$dir/libvirtd.log" 2>&1 &
libvirtd=$!
for _ in {1..300}; do
	if virsh --connect qemu:///system version >/dev/null 2>&1; then
		status=0
		"${as_user[@]}" "$@" || status=$?
		kill "$libvirtd"
		exit "$status"
	fi
	if ! kill -0 "$libvirtd" 2>/dev/null; then break; fi
	read -r -t 0.2 <> <(:) || true
done
echo "libvirtd does not answer; the end of what it said:" >&2
tail -n 20 "$dir/libvirtd.log" >&2
exit 1

#!/bin/sh
# Turns a fresh Debian tree into a lab machine's box. Run by mmdebstrap as a customize hook, and in a container.
# Usage: box-setup.sh ROOT        ROOT: the tree; the files of templates/box are already in it
set -eu
root=$1

chmod 0440 "$root/etc/sudoers.d/vagrant"
chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 vagrant
install -d -o 1000 -g 1000 -m 0700 "$root/home/vagrant/.ssh"

# What belongs to one machine is made for each machine.
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id"
for file in "$root/etc/hostname" "$root/etc/resolv.conf"; do
	mountpoint --quiet "$file" || rm -f "$file" # in a container Docker has mounted its own
done
rm -f "$root"/var/lib/dbus/machine-id

chroot "$root" systemctl --quiet enable lab-ssh.socket lab-cgroups.service systemd-networkd.service docker.service
chroot "$root" systemctl --quiet disable ssh.service
# What a lab machine doesn't need; with these masked `systemctl --failed` is empty.
chroot "$root" systemctl --quiet mask \
	systemd-firstboot.service getty@tty1.service console-getty.service \
	systemd-networkd-wait-online.service systemd-resolved.service \
	sys-kernel-debug.mount sys-kernel-tracing.mount \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
# iptables writes to nftables, as Calico's Felix does.
chroot "$root" update-alternatives --quiet --set iptables /usr/sbin/iptables-nft

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
# What a lab machine doesn't need; with these masked `systemctl --failed` is empty. Fifty machines boot on one computer, and each of
# these is 5 to 15 ms of CPU at every boot.
chroot "$root" systemctl --quiet mask \
	systemd-firstboot.service getty@tty1.service console-getty.service \
	systemd-networkd-wait-online.service systemd-resolved.service \
	systemd-logind.service systemd-sysusers.service systemd-network-generator.service systemd-pstore.service \
	systemd-journal-flush.service systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-machine-id-commit.service \
	sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
# Units are made from /etc/fstab, and from nothing else.
install -d "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
	name=${generator##*/}
	if [ "$name" != systemd-fstab-generator ]; then ln -sf /dev/null "$root/etc/systemd/system-generators/$name"; fi
done
# A login says nothing: for the message of the day five programs run each time, and the lab logs in often.
sed -i '/pam_motd\.so\|pam_mail\.so/d' "$root/etc/pam.d/sshd"
# iptables writes to nftables, as Calico's Felix does.
chroot "$root" update-alternatives --quiet --set iptables /usr/sbin/iptables-nft

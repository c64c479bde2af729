#!/bin/sh
# What a virtual machine's tree needs beyond box-setup.sh. Run by mmdebstrap as a customize hook, after it.
# Usage: vm-setup.sh ROOT         ROOT: the tree; the files of templates/box and templates/vm are already in it
set -eu
root=$1

# Vagrant's well-known public key; Vagrant puts a key of its own in its place at the first boot.
install -o 1000 -g 1000 -m 0600 "$root/usr/local/lib/lab/vagrant.pub" "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" systemctl --quiet enable ssh.service lab-host-keys.service
chroot "$root" systemctl --quiet disable lab-ssh.socket lab-cgroups.service
# For the power button, by which a machine is halted.
chroot "$root" systemctl --quiet unmask systemd-logind.service
# Empty, not missing: each machine gets its own, without systemd's first-boot wizardry.
: >"$root/etc/machine-id"
echo lab >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
chroot "$root" update-initramfs -u -k all

kernel=$(cd "$root/boot" && echo vmlinuz-*)
install -d "$root/boot/extlinux"
# Interfaces are eth0 and eth1, as Vagrant expects. AppArmor is off because its parser is not installed, without which
# Docker starts no container.
cat >"$root/boot/extlinux/extlinux.conf" <<END
default lab
prompt 0
timeout 0
label lab
  linux /boot/$kernel
  initrd /boot/initrd.img-${kernel#vmlinuz-}
  append root=LABEL=lab rw net.ifnames=0 biosdevname=0 console=tty0 console=ttyS0 apparmor=0 quiet loglevel=4
END

#!/bin/bash
# Makes a bootable raw disk image of a file system tree: one ext4 partition, extlinux as its boot loader. As root.
# Usage: vm-disk.sh TREE.tar DISK SIZE         SIZE: as truncate(1) takes it
set -euo pipefail
tree=$1 disk=$2 size=$3

# In a mount namespace of its own the mount ends with this script, and with it the loop device, however it ends.
if [ "${IN_NAMESPACE:-}" != yes ]; then
	IN_NAMESPACE=yes exec unshare --mount --propagation private bash "$0" "$@"
fi
PATH=$PATH:/usr/sbin:/sbin
start=$((1024 * 1024))
rm -f "$disk"
truncate --size="$size" "$disk"
printf 'label: dos\nstart=%d, type=83, bootable\n' $((start / 512)) | sfdisk --quiet "$disk"
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none
# extlinux reads neither 64-bit block numbers nor checksums of metadata.
mkfs.ext4 -q -F -O '^64bit,^metadata_csum' -L lab -E "offset=$start,lazy_itable_init=0" "$disk" $((($(stat -c %s "$disk") - start) / 1024))k
target=$(mktemp -d)
mount -o "loop,offset=$start" "$disk" "$target"
# Programs have capabilities in an attribute: ping's is lost without this.
tar --extract --numeric-owner --xattrs --xattrs-include='*' --directory="$target" --file="$tree"
extlinux --install "$target/boot/extlinux" >/dev/null 2>&1
umount "$target"
rmdir "$target"

#!/bin/sh
# Runs in the new root as root: what grub-install and update-grub leave in /boot/grub, without a disk to look at.
# usage: offline-grub.sh ROOT-UUID
set -eu

uuid=$1
from=/usr/lib/grub/i386-pc
to=/boot/grub/i386-pc

mkdir -p "$to" /boot/grub/fonts
cp "$from"/*.mod "$from"/*.lst "$from"/boot.img "$to"/
cp /usr/share/grub/unicode.pf2 /boot/grub/fonts/
grub-editenv /boot/grub/grubenv create
grub-mkimage -O i386-pc -o "$to/core.img" -p '(,msdos1)/boot/grub' biosdisk part_msdos ext2

# grub-mkconfig asks grub-probe about the disk under /: it answers what it would say in the booted guest.
probe=/usr/sbin/grub-probe
mv "$probe" "$probe.real"
by_uuid=/dev/disk/by-uuid
trap 'mv "$probe.real" "$probe"; rm "$by_uuid/$uuid"' EXIT
# Without this link the menu would say root=/dev/sda1.
mkdir -p "$by_uuid"
ln -sf /dev/null "$by_uuid/$uuid"
cat >"$probe" <<PROBE
#!/bin/sh
case " \$* " in
    *target=device\ * | *"-t device "*) echo /dev/sda1 ;;
    *target=fs_uuid\ *) echo $uuid ;;
    *target=fs\ *) echo ext2 ;;
    *target=partmap\ *) echo msdos ;;
    *target=hints_string\ *) echo "--hint-bios=hd0,msdos1 --hint-efi=hd0,msdos1 --hint-baremetal=ahci0,msdos1" ;;
    *target=compatibility_hint\ *) echo hd0,msdos1 ;;
    *target=abstraction\ *) echo ;;
    *) exit 1 ;;
esac
PROBE
chmod 755 "$probe"
GRUB_DISABLE_OS_PROBER=true update-grub

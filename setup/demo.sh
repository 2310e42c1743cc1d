#!/bin/sh
# A small sample guest in Debian's classic layout, grown by 10G before your eyes; then its files are compared.
set -eu

cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/growdisk-demo-XXXXXX")
trap 'rm -rf "$folder"' EXIT INT TERM
disk=$folder/guest.qcow2

if [ -t 1 ]; then bold='\033[1m' plain='\033[0m'; else bold='' plain=''; fi
# Files that name the swap; expand mends them, as the swap is gone.
mended='^/(etc/fstab|etc/initramfs-tools/conf.d/resume|boot/initrd.img-.*|boot/grub/grub.cfg|etc/default/grub)$'

say() {
    printf "\n$bold%s$plain\n" "$*"
}

show_and_run() {
    say "\$ growdisk $1 ${2:-guest.qcow2} ${3:-}"
    .venv/bin/growdisk "$1" "$disk" ${3:+"$3"}
}

files() {
    .venv/bin/python -m tests.guests.manifest "$disk"
}

say "A sample guest: MBR, sda1 ext4 root with real files, swap sda5 in the extended sda2 right behind it"
.venv/bin/python -m tests.guests.small "$disk" --size 1G >/dev/null
files >"$folder/before"

show_and_run show
show_and_run plan guest.qcow2 +10G
started=$(date +%s)
show_and_run expand guest.qcow2 +10G
ended=$(date +%s)
show_and_run show

say "The same files? (content, owner, mode, time, attributes of each, read by libext2fs, judged by diff)"
files >"$folder/after"
changed=$(diff "$folder/before" "$folder/after" | sed -n 's/^[<>] [^ ]* //p' | sort -u)
if lost=$(printf '%s' "$changed" | grep -Ev "$mended"); then
    printf 'NOT THE SAME:\n%s\n' "$lost"
    exit 1
fi
echo "all $(wc -l <"$folder/before") as before, but for those that named the swap which is gone:"
echo "$changed" | sed 's/^/  /'
qemu-img check -q "$disk"
echo "qemu-img check: no errors"
echo "expand took $((ended - started)) s"

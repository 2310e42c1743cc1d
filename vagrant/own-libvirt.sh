#!/bin/sh
# Runs a command with a libvirtd of its own, in a mount, network and process namespace of its own: nothing of it is seen
# by the system's libvirtd, and the kernel takes all of it away when the command ends or dies. Needs root.
# usage: own-libvirt.sh FOLDER COMMAND...     FOLDER: for libvirt's files; the user libvirt-qemu must get through to it
set -eu

if [ "${1:-}" != --inside ]; then
    # --kill-child: with the death of its first process, or of this one, a namespace ends.
    exec setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc "$0" --inside "$@"
fi
folder=$2
shift 2

# -- Own rooms under libvirt's usual names ----------------------------------------------------------------------------
mount --make-rprivate /
umount -R -l /sys # the host's bridges, and its cgroups, which stay without machines of ours
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock
cp -a /etc/libvirt "$folder/etc"
mount --bind "$folder/etc" /etc/libvirt
for kind in lib log cache; do
    mkdir -p "$folder/$kind" "/var/$kind/libvirt"
    mount --bind "$folder/$kind" "/var/$kind/libvirt"
done
ip link set lo up

# -- libvirt, its network, and a pool ---------------------------------------------------------------------------------
virtlogd --daemon
libvirtd --daemon
tries=0
until virsh -q version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || { echo "own-libvirt: libvirtd does not answer" >&2; exit 1; }
    sleep 0.2
done
mkdir -p "$folder/pool"
virsh -q net-list --name | grep -qx default || virsh -q net-start default
virsh -q pool-define-as growdisk dir --target "$folder/pool"
virsh -q pool-start growdisk
# Not exec: as the first process of the namespace, this shell buries the dead (QEMU), for whose end libvirtd waits.
status=0
"$@" || status=$?
exit "$status"

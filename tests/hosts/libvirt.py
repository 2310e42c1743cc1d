"""A host with a real LVM and a real libvirt, which knows a machine on a logical volume."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.units import MiB
from tests.guests.firmware import halting
from tests.hosts.machine import HostMachine, host_machine

VOLUME = "/dev/vg0/web01"
URI = "qemu+unix:///system?socket=/run/libvirt/libvirt-sock"  # growdisk's root has no /var
VIRSH = "chroot /run/root virsh -q -c qemu:///system"
_MACHINE = """
<domain type='qemu'><name>web01</name><memory unit='MiB'>{memory}</memory>
<os><type arch='x86_64' machine='pc'>hvm</type>{boot}</os>
<features><acpi/></features>
<devices>
  <disk type='block' device='disk'>
    <driver name='qemu' type='raw'/><source dev='{volume}'/><target dev='vda' bus='virtio'/>
  </disk>
  <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  <serial type='file'><source path='/run/console'/></serial>
  <video><model type='vga'/></video><memballoon model='none'/>
</devices>
<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
</domain>
"""
# libvirt gives a QEMU a /dev of its own in a mount namespace, whose root must be the one that
# libvirtd has. Who runs as the first process here does not ask after orphans, so libvirtd gets a
# parent that does.
_REAPER = """
import ctypes, os, subprocess
ctypes.CDLL(None).prctl(36, 1)
subprocess.Popen(["libvirtd", "-f", "/etc/libvirt/libvirtd.conf"])
while True:
    os.wait()
"""
_LIBVIRT = """
root=/run/root; mkdir $root; mount -t tmpfs tmpfs $root
for name in usr dev proc sys run etc tmp exchange; do mkdir $root/$name; mount --rbind /$name $root/$name; done
for name in bin sbin lib lib64; do if [ -L /$name ]; then cp -a /$name $root/; fi; done
mkdir -p $root/var/lib/libvirt $root/var/cache $root/var/log $root/root $root/old /etc/libvirt /dev/shm /dev/pts
ln -s /run $root/var/run
mount -t tmpfs tmpfs $root/dev/shm; mount -t devpts devpts $root/dev/pts
echo 'auth_unix_rw = "none"' >/etc/libvirt/libvirtd.conf
for line in 'user = "root"' 'group = "root"' 'stdio_handler = "file"' 'security_driver = "none"' \\
    'cgroup_controllers = []'; do echo "$line"; done >/etc/libvirt/qemu.conf
echo libvirt-qemu:x:64055:64055::/:/bin/false >>/etc/passwd
for name in libvirt-qemu:x:64055: kvm:x:64056: libvirt:x:64057:; do echo $name; done >>/etc/group
echo '127.0.0.1 localhost host' >/etc/hosts; hostname host; ip link set lo up
cd $root
unshare -m sh -c 'pivot_root . old; exec chroot . python3 /exchange/reaper.py' >/run/libvirtd.log 2>&1 &
cd /
tries=0
until chroot $root virsh -q -c qemu:///system version >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 60 ] || { cat /run/libvirtd.log >&2; exit 1; }; sleep 1
done
"""  # noqa: E501


@contextmanager
def libvirt_host(
    guest: Path, folder: Path, *, kernel: tuple[Path, Path] | None = None
) -> Iterator[HostMachine]:
    """A host with the content of `guest` on /dev/vg0/web01 (128 MiB), libvirt's machine web01, off.

    `kernel`: a kernel and its initramfs to start the machine with.
    """
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, 1024 * MiB)
    with host_machine(disk, guest) as machine:
        machine.make_group()
        machine.sh(
            f"lvm lvcreate -q -y -n web01 -L 128M vg0 >/dev/null; dd if=/dev/ubdb of={VOLUME} bs=1M"
        )
        (machine.exchange / "rom").write_bytes(halting().read_bytes())
        boot = "<loader readonly='yes' type='rom'>/exchange/rom</loader>"
        if kernel:
            for name, file in zip(("kernel", "initramfs"), kernel, strict=True):
                (machine.exchange / name).write_bytes(file.read_bytes())
            line = "console=ttyS0 quiet microroot=vda1"
            boot = f"<kernel>/exchange/kernel</kernel><initrd>/exchange/initramfs</initrd><cmdline>{line}</cmdline>"  # noqa: E501
        xml = _MACHINE.format(memory=256 if kernel else 64, boot=boot, volume=VOLUME)
        (machine.exchange / "web01.xml").write_text(xml)
        (machine.exchange / "reaper.py").write_text(_REAPER)
        machine.sh(_LIBVIRT)
        machine.sh(f"{VIRSH} define /exchange/web01.xml")
        yield machine

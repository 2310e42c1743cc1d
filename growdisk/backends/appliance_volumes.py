"""Opens and grows, inside the appliance, what lies between a partition and its file system: LUKS and LVM.

Keys reach the appliance as a file in its memory, and as the volume key itself: a passphrase is never there.
Specs: cryptsetup(8), lvm(8).
"""

from __future__ import annotations

from growdisk.backends import filesystem_growth
from growdisk.backends.guest_handle import Shell, guest_call

_KEYS, _KEY = "/sysroot", "/volume-key"  # the handle writes files below /sysroot only


class ApplianceVolumes:
    """Devices are named as the appliance names them: /dev/sda5, /dev/mapper/name, /dev/group/volume.

    `owner` is the system ID of a volume group, "" where it has none.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def open_luks(self, device: str, name: str, volume_key: bytes) -> None:
        """/dev/mapper/`name` is then the decrypted content. Nothing is done where it is there already."""
        if self._is_there(f"/dev/mapper/{name}"):
            return
        self._shell.run("mount", "-t", "tmpfs", "-o", "mode=0700", "keys", _KEYS)
        try:
            with guest_call("handing over the key"):
                self._shell.handle.write(_KEY, volume_key)
            self._shell.run("cryptsetup", "open", "--volume-key-file", _KEYS + _KEY, device, name)
        finally:
            self._shell.run("umount", _KEYS)
        self._shell.run("udevadm", "settle")

    def activate(self, group: str, owner: str = "") -> None:
        """/dev/`group`/... are then there, also what only its owner would activate."""
        self._shell.run("lvm", "vgchange", *_acting_for(owner), "-ay", "--ignoreactivationskip", group)
        self._shell.run("udevadm", "settle")

    def grow_physical_volume(self, device: str, owner: str = "") -> str:
        return self._shell.run("lvm", "pvresize", *_acting_for(owner), device)[1]

    def grow_logical_volume(self, group: str, volume: str, extents: int, owner: str = "") -> str:
        """To that many extents in all."""
        return self._shell.run("lvm", "lvextend", *_acting_for(owner), "-l", str(extents), f"{group}/{volume}")[1]

    def grow_filesystem(self, kind: str, device: str, device_id: int = 1, *, replay: bool = False) -> str:
        """XFS, btrfs, NTFS or F2FS, to the size of its device. `device_id` is btrfs's number of it."""
        return filesystem_growth.grow(self._shell, kind, device, device_id, replay=replay)

    def size_of(self, device: str) -> int:
        return int(self._shell.run("blockdev", "--getsize64", device)[1])

    def _is_there(self, device: str) -> bool:
        return self._shell.run("test", "-b", device, accept=(0, 1))[0] == 0


def _acting_for(owner: str) -> tuple[str, ...]:
    """LVM touches no group that belongs to another system: here it is the guest's own, and that is who works."""
    if not owner:
        return ()
    name = owner.replace("\\", "\\\\").replace('"', '\\"')
    return ("--config", f'global {{ system_id_source="lvmlocal" }} local {{ system_id="{name}" }}')

"""What can be grown on this machine, and which packages are missing: from what `doctor.run_checks` found.

Pure but for a look whether programs and libraries are there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import PACKAGES, is_here

_FEDORA = {
    "e2fsprogs": "e2fsprogs", "fdisk": "util-linux", "bubblewrap": "bubblewrap", "fuse3": "fuse3",
    "ntfs-3g": "ntfsprogs", "f2fs-tools": "f2fs-tools", "xfsprogs": "xfsprogs", "btrfs-progs": "btrfs-progs",
    "lvm2": "lvm2", "cryptsetup": "cryptsetup", "openssh-client": "openssh-clients", "qemu-utils": "qemu-img",
    "python3-libvirt": "python3-libvirt", "python3-guestfs": "python3-libguestfs", "qemu-system-x86": "qemu-kvm-core",
    "zfsutils-linux": "zfs", "ceph-common": "ceph-common", "mount": "util-linux",
}  # fmt: skip
_DIRECT = ("direct", "uml", "guestfs")
_KERNEL = ("uml", "guestfs")


@dataclass(frozen=True)
class _Wish:
    """Something that can be grown: by the first of `backends` that works, with the host's `tools`, and `modules` of
    Python, each with its package.
    """

    what: str
    backends: tuple[str, ...]
    tools: tuple[str, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Capability:
    """Whether `what` can be grown here, and by which backend. `missing` are Debian's packages, `fedora` are Fedora's in
    the same order.
    """

    what: str
    ok: bool
    by: str
    missing: tuple[str, ...] = ()
    fedora: tuple[str, ...] = ()


_WISHES = (
    _Wish("ext2, ext3, ext4", _DIRECT),
    _Wish("NTFS", ("direct",), ("ntfsresize",)),
    _Wish("F2FS", ("direct",), ("resize.f2fs",)),
    _Wish("XFS", _KERNEL, ("xfs_growfs",)),
    _Wish("btrfs", _KERNEL, ("btrfs",)),
    _Wish("LVM", _KERNEL, ("lvm",)),
    _Wish("LUKS", _KERNEL, ("cryptsetup",)),
    _Wish("running guests of libvirt", (), (), (("libvirt", "python3-libvirt"),)),
    _Wish("running guests of plain QEMU", (), (), (("qemu.qmp", "python3-qemu.qmp"),)),
    _Wish("running guests by ssh", (), ("ssh",)),
    _Wish("devices: logical volumes", (), ("lvm",)),
    _Wish("devices: loop", (), ("losetup",)),
    _Wish("devices: ZFS volumes", (), ("zfs",)),
    _Wish("devices: Ceph RBD", (), ("rbd",)),
)
_OTHER_PACKAGES = {"losetup": "mount", "zfs": "zfsutils-linux", "rbd": "ceph-common"}
MAIN = _WISHES[0].what
"""What must be possible for growdisk to do its main job."""


def capabilities(backends: Mapping[str, bool]) -> Iterator[Capability]:
    """`backends`: which of direct, uml and guestfs work here. The appliance of guestfs brings tools of its own."""
    for wish in _WISHES:
        yield _capability(wish, backends)


def _capability(wish: _Wish, backends: Mapping[str, bool]) -> Capability:
    by = next((name for name in wish.backends if backends.get(name)), "")
    tools = [tool for tool in wish.tools if not is_here(tool)]
    missing = {_OTHER_PACKAGES.get(tool) or PACKAGES.get(tool, tool) for tool in tools}
    missing |= {package for module, package in wish.modules if not _importable(module)}
    if missing and "guestfs" in wish.backends and backends.get("guestfs"):
        return Capability(wish.what, True, "guestfs")
    ok = not missing and (bool(by) or not wish.backends)
    names = tuple(sorted(missing))
    return Capability(wish.what, ok, by if ok else "", names, tuple(_FEDORA.get(name, name) for name in names))


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False

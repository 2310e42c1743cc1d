"""Finds the systems on a disk by reading: which file systems are roots, what each mounts.

A root is where an /etc, or deployments of ostree, can be seen: at the top of a file system, or in a
subvolume of btrfs. Snapshots are not systems. A /boot or an EFI system partition that no system
mounts is a home by itself, so that it does not matter by what name, or whether, a guest's fstab has
it. Pure reading, with no tool, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple, dataclass, field
from growdisk.filesystems.btrfs_tree import TOP_LEVEL
from growdisk.filesystems.file_tree import FileTree, Subvolume, Unknown
from growdisk.guest_config.etc_tables import FSTAB, Entry, parse_fstab, swap_files
from growdisk.guest_config.files import LARGEST_SETTINGS, decode
from growdisk.guest_config.places import BOOTS
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_systems.file_systems import SeenFileSystem, file_systems_on, tree_of
from growdisk.guest_systems.paths import GuestPaths, MountRoot
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder

_MOUNTED = ("/boot", "/efi", "/esp", "/usr", "/nix", "/etc", "/ostree", "/sysroot")
_BOOT_PLACES = ("/boot", "/efi", "/esp")
_GUIX = "/var/guix/profiles/system"
_DEVICES = ("/dev/", "UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=")
_SIGNS_OF_BOOT = frozenset({
    "grub", "grub2", "loader", "efi", "extlinux", "syslinux", "isolinux", "refind_linux.conf",
    "extlinux.conf", "syslinux.cfg", "limine.conf", "limine.cfg", "cmdline.txt", "uenv.txt",
    "armbianenv.txt", "boot.scr",
})  # fmt: skip
_STARTS_OF_BOOT = ("initrd", "initramfs", "vmlinu", "booster")
_SNAPSHOTS = frozenset(
    {".snapshots", "timeshift-btrfs", ".btrfs_snapshots", "@snapshots", "snapshots"}
)


class GuestMount(NamedTuple):
    """`subvolume` is btrfs's: "" is the default one, "/" the top level."""

    place: str
    node: str
    subvolume: str = ""

    @property
    def name(self) -> str:
        """For people: sda1, @rootfs on sda1."""
        node = self.node.removeprefix("/dev/")
        return f"{self.subvolume} on {node}" if self.subvolume.strip("/") else node


@dataclass(frozen=True)
class Home:
    """Where files of a guest are.

    `mounts`: first what is at /, then what is mounted in it, outer ones first. `rooted` False: a
    /boot or an EFI system partition by itself. `strange` are places that cannot be looked into,
    each with why.
    """

    mounts: tuple[GuestMount, ...]
    paths: GuestPaths
    rooted: bool = True
    strange: tuple[str, ...] = ()

    @property
    def root(self) -> GuestMount:
        return self.mounts[0]


@dataclass(frozen=True)
class Look:
    """`closed` are file systems that cannot be read here, each with why, and their names."""

    homes: tuple[Home, ...] = ()
    closed: Mapping[str, str] = field(default_factory=dict)
    closed_names: Mapping[str, RemovedPartition] = field(default_factory=dict)

    @property
    def systems(self) -> tuple[Home, ...]:
        return tuple(home for home in self.homes if home.rooted)

    def system_on(self, node: str) -> Home | None:
        """Of several systems in one btrfs the first."""
        return next((home for home in self.systems if home.root.node == node), None)


def find_homes(
    disk: BlockDevice,
    path: Path,
    sector_size: int = 512,
    keyring: Keyring | None = None,
    others: Sequence[tuple[BlockDevice, Path]] = (),
) -> Look:
    """All homes on the disk.

    `others` are further disks of the guest, onto which a volume group may reach.
    """
    pv_finder = PhysicalVolumeFinder([(disk, path), *others], sector_size)
    closed: dict[str, str] = {}
    seen = list(file_systems_on(disk, path, sector_size, keyring or Keyring(), pv_finder, closed))
    trees: dict[str, FileTree] = {}
    for one in seen:
        try:
            if (tree := tree_of(one.content, one.device)) is not None:
                trees[one.node] = tree
        except (Unknown, OSError) as error:
            closed[one.node] = str(error)
    homes = tuple(_homes(seen, trees, closed))
    return Look(homes, closed, {one.node: one.names for one in seen if one.node in closed})


def snapshots_naming(look: Look, parts: Sequence[RemovedPartition]) -> tuple[str, ...]:
    """Subvolumes that are no systems, and whose fstab names one of `parts`."""
    roots = [home.paths.root for home in look.systems]
    trees = {id(root.tree): root.tree for root in roots}.values()
    return tuple(
        subvolume.path
        for tree in trees
        for subvolume in tree.subvolumes()
        if (top := MountRoot(tree, tree.root_of(subvolume.number))) not in roots
        and any(entry.is_of(part) for entry in _fstab(GuestPaths(top)) for part in parts)
    )


def paths_of(mounts: Sequence[GuestMount], trees: Mapping[str, FileTree]) -> GuestPaths:
    """The same mounts on other readers, by their nodes."""
    first, *others = ((m.place, _mounted(trees[m.node], m.subvolume)) for m in mounts)
    return GuestPaths(first[1], dict(others))


# --- homes --------------------------------------------------------------------------------------


def _homes(
    seen: Sequence[SeenFileSystem], trees: Mapping[str, FileTree], closed: dict[str, str]
) -> Iterator[Home]:
    taken: set[str] = set()
    for one in seen:
        # Systems first, with all that they mount; what no system took may be a home by itself.
        for root, top in _roots(one, trees.get(one.node), closed):
            home = _with_mounts(root, top, seen, trees)
            taken |= {mount.node for mount in home.mounts}
            yield home
    for one in seen:
        if one.node in taken or one.node not in trees:
            continue
        try:
            paths = GuestPaths(_top(trees[one.node]), still=True)
            if _boots(paths):
                yield Home((GuestMount("/", one.node),), paths, rooted=False)
        except (Unknown, OSError) as error:
            closed[one.node] = str(error)


def _top(tree: FileTree) -> MountRoot:
    return MountRoot(tree, tree.mounted_root)


def _roots(
    one: SeenFileSystem, tree: FileTree | None, closed: dict[str, str]
) -> Iterator[tuple[GuestMount, MountRoot]]:
    """What systems have at /, each with how it is mounted."""
    # No system has its root on FAT.
    if tree is None or tree.ignores_case:
        return
    try:
        top = _top(tree)
        subvolumes = tree.subvolumes()
        if not subvolumes and _is_system(GuestPaths(top)):
            yield GuestMount("/", one.node), top
        # A default subvolume is a system even if it looks like a snapshot (snapper's rollback).
        found = [
            (root, subvolume, root == top or _is_named(root, subvolume))
            for subvolume in subvolumes
            if _is_system(GuestPaths(root := MountRoot(tree, tree.root_of(subvolume.number))))
        ]
        found = [each for each in found if each[2] or not _is_snapshot(each[1])]
        for root, subvolume, is_sure in found:
            if is_sure or not any(_is_container(subvolume, other) for _, other, _ in found):
                yield GuestMount("/", one.node, subvolume.path or "/"), root
    except (Unknown, OSError) as error:
        closed[one.node] = str(error)


def _is_named(top: MountRoot, subvolume: Subvolume) -> bool:
    """Whether its own fstab says that it is what is mounted at /."""
    return bool(subvolume.path) and any(
        entry.mount_point == "/"
        and (entry.subvolume == subvolume.path or entry.subvolume_number == subvolume.number)
        for entry in _fstab(GuestPaths(top))
    )


def _is_snapshot(subvolume: Subvolume) -> bool:
    return (
        subvolume.is_copy
        or subvolume.read_only
        or not _SNAPSHOTS.isdisjoint(subvolume.path.split("/"))
    )


def _is_container(subvolume: Subvolume, system: Subvolume) -> bool:
    """Whether it lies in a system: var/lib/machines/NAME. @ at the top level is none."""
    if system.path:
        return subvolume.path.startswith(f"{system.path}/")
    return "/" in subvolume.path


def _is_system(paths: GuestPaths) -> bool:
    # ostree has no /etc at the top: each deployment has its own.
    names = set(paths.names("/"))
    if "ostree" in names and paths.is_directory("/ostree/deploy"):
        return True
    return "etc" in names and (
        "fstab" in paths.names("/etc") or bool(names & {"usr", "bin", "sbin", "nix"})
    )


def _boots(paths: GuestPaths) -> bool:
    names = {name.lower() for name in paths.names("/")}
    return bool(names & _SIGNS_OF_BOOT) or any(name.startswith(_STARTS_OF_BOOT) for name in names)


def _fstab(paths: GuestPaths) -> list[Entry]:
    try:
        place = paths.find(FSTAB)
        if place is None or not place.inode.is_file:
            return []
        return list(parse_fstab(decode(place.tree.read(place.inode, LARGEST_SETTINGS))))
    except Unknown:
        return []


def _with_mounts(
    root: GuestMount, top: MountRoot, seen: Sequence[SeenFileSystem], trees: Mapping[str, FileTree]
) -> Home:
    """With its fstab's mounts. What GPT's types alone say where to mount is a home by itself."""
    paths, mounts, strange = GuestPaths(top, still=True), [root], []
    if paths.find(_GUIX, follow=False):
        strange.append("Guix has its swap in its store, and makes no file of /etc of it")
    # Outer places before what is mounted in them: /boot, /boot/efi.
    entries = sorted(_fstab(paths), key=lambda entry: entry.mount_point)
    files = tuple(swap_files(entries))
    # If root is on /dev/sdb, then /dev/sdb1 is of this disk: it has one disk, whatever its name.
    own = [entry.plain_source for entry in entries if entry.mount_point == "/"]
    for entry in entries:
        place = entry.mount_point.rstrip("/")
        has_swap_file = place and any(file.startswith(f"{place}/") for file in files)
        if entry.is_swap() or not (place.startswith(_MOUNTED) or has_swap_file):
            continue
        if entry.kind == "overlay":
            strange.append(f"{place} is an overlay: the guest may see other files there")
            continue
        # First what is surely named, by a UUID and the like; else what only may be.
        readable = [one for one in seen if one.node in trees]
        source = entry.plain_source
        sure = (one for one in readable if one.names.on_disk_of(own).is_named_by(source))
        maybe = (one for one in readable if _may_be_boot(one, entry, trees[one.node]))
        one = next(chain(sure, maybe), None)
        if one is None:
            if place.startswith(_BOOT_PLACES) and entry.plain_source.startswith(_DEVICES):
                strange.append(f"{place} ({source}) is not on this disk, and cannot be looked into")
        elif not paths.is_directory(place) or _is_boot_elsewhere(place, trees[one.node]):
            continue  # systemd makes it when it mounts, or it is /esp: here it is a home by itself
        elif (inner := _inner(trees[one.node], entry)) and (one.node != root.node or inner[0]):
            # The root's own device again only as another subvolume (/home beside /).
            mounts.append(GuestMount(place, one.node, inner[0]))
            paths.mount(place, inner[1])
    return Home(tuple(mounts), paths, strange=tuple(strange))


def _may_be_boot(one: SeenFileSystem, entry: Entry, tree: FileTree) -> bool:
    """by-id/…-part1 of some disk: of this one, if what boots is in its partition 1."""
    named = one.names.may_be_named_by(entry.plain_source)
    return named and entry.mount_point.startswith(_BOOT_PLACES) and _is_boot(tree)


def _is_boot_elsewhere(place: str, tree: FileTree) -> bool:
    """Whether an EFI system partition is mounted at /esp, /efi2, /boot/EFI: not searched there."""
    return tree.ignores_case and place not in BOOTS and _is_boot(tree)


def _is_boot(tree: FileTree) -> bool:
    try:
        return _boots(GuestPaths(_top(tree)))
    except (Unknown, OSError):
        return False


def _inner(tree: FileTree, entry: Entry) -> tuple[str, MountRoot] | None:
    """The subvolume, and what is at the top of the mount; None if there is no such subvolume."""
    try:
        subvolume = _subvolume_of(tree, entry)
        return subvolume, _mounted(tree, subvolume)
    except Unknown:
        return None


def _subvolume_of(tree: FileTree, entry: Entry) -> str:
    """As GuestMount has it."""
    if entry.subvolume is None and entry.subvolume_number is None:
        return ""
    if not (subvolumes := tree.subvolumes()):
        return ""
    # subvolid=0 is the top level, too.
    number = entry.subvolume_number or TOP_LEVEL
    # Both may be given: the kernel then wants them to agree, and subvol= has the name.
    found = (volume.path for volume in subvolumes if volume.number == number)
    path = entry.subvolume if entry.subvolume is not None else next(found, None)
    if path is None:
        raise Unknown(f"there is no subvolume {number}")
    return path or "/"


def _mounted(tree: FileTree, subvolume: str) -> MountRoot:
    if not subvolume:
        return _top(tree)
    found = next((v for v in tree.subvolumes() if v.path == subvolume.strip("/")), None)
    if found is None:
        raise Unknown(f"there is no subvolume {subvolume}")
    return MountRoot(tree, tree.root_of(found.number))

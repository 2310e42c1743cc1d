"""Carries out GuestChanges in a hidden image's guest: by host tools, else in the appliance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.block.device import BlockDevice
from growdisk.errors import Refused, ToolFailed
from growdisk.filesystems.content import Content, ExtContent, PhysicalVolumeContent
from growdisk.filesystems.file_tree import Unknown
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.guest_config.customize.changes import GuestChanges, cannot_customize
from growdisk.guest_config.customize.customize import customize
from growdisk.guest_systems.file_systems import file_systems_on, tree_of
from growdisk.guest_systems.look import GuestMount, find_homes
from growdisk.guest_systems.paths import GuestPaths, MountRoot
from growdisk.host.fuse_mount import unmounting_beside
from growdisk.partitions.table import Partition
from growdisk.planner.facts import Facts
from growdisk.qcow2.probe import ImageFormat
from growdisk.steps.device_path import DevicePath
from growdisk.steps.disk import Disk
from growdisk.steps.place_at_rest import places_within
from growdisk.steps.run_backend import RunBackend
from growdisk.steps.worker import BackendKind
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder
from growdisk.workflow.stopping import StopRequest

if TYPE_CHECKING:
    from growdisk.steps.run_backend import Backend

_ROOTS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs")
_EXT = _ROOTS[:3]
_MARK = "/etc/passwd"  # what only a root has


def customize_guest(
    path: Path,
    image_format: ImageFormat,
    changes: GuestChanges,
    *,
    kind: BackendKind,
    stop: StopRequest,
    keys: tuple[bytes, ...] = (),
) -> tuple[str, ...]:
    """What was done, a line each.

    Raises what stands against it; the image is then not to be used.
    """
    with unmounting_beside(), closing(Disk.open(path, image_format, key=keys)) as disk:
        # No snapshots: the image is hidden, and is thrown away if anything fails.
        disk.activate(disk.base(writable=True))
        keyring = Keyring(keys)
        facts = inspect_device(disk, image_facts(disk.active, path), keyring=keyring)
        mounts = _mounts(disk, path, keyring)
        run_backend = RunBackend(disk, stop, keyring=keyring, kind=kind)
        try:
            with run_backend.started("changing the guest", _to_open(facts, mounts)) as backend:
                # Not readable here: the backend mounts one after the other, to find the root.
                root = mounts[0].node if mounts else _root(backend, facts, direct=kind == "direct")
                with backend.mounted_guest(root, mounts) as guest:
                    lines = tuple(customize(guest, changes))
            # In order, so that nothing it has written is lost. After a failure kill() is enough.
            run_backend.close()
        except BaseException:
            run_backend.kill()
            raise
        disk.flush()
    return lines


def why_not_direct(facts: Facts, changes: GuestChanges) -> str:
    """Why host tools cannot do it, as far as can be told beforehand; "" if they can."""
    from growdisk.backends.available import why_no_direct

    if changes.commands:
        return "commands in the guest need a kernel"
    main = facts.main
    if main is None or facts.kind_of(main.number) not in _EXT:
        return "the guest has no ext file system right in a partition"
    return str(why_no_direct() or "")


def refuse_without_guest(device: BlockDevice, path: Path, keys: tuple[bytes, ...]) -> None:
    """cannot-customize if all of the disk can be read here, and nothing in it has users.

    An appliance would take its time to find the same.
    """
    keyring, pv_finder = Keyring(keys), PhysicalVolumeFinder([(device, path)], 512)
    closed: dict[str, str] = {}
    seen = list(file_systems_on(device, path, 512, keyring, pv_finder, closed))
    facts = inspect_device(device, image_facts(device, path), keyring=keyring)
    try:
        trees = [tree for one in seen if (tree := tree_of(one.content, one.device))]
        users = [GuestPaths(MountRoot(tree, tree.mounted_root)).find(_MARK) for tree in trees]
    except (Unknown, OSError):
        return
    hidden = closed or any(map(_may_hide, facts.all_within(*facts.contents)))
    # Subvolumes of btrfs are roots as well: _mounts() knows them.
    if not (hidden or any(users) or _mounts(device, path, keyring)):
        raise _no_root()


def _may_hide(content: Content) -> bool:
    """Whether something in it can only be read by a kernel."""
    match content:
        case ExtContent(needs_recovery=True):
            return True
        case PhysicalVolumeContent(group=VolumeGroup() as group, volumes=volumes):
            return {volume.name for volume in group.visible} > {name for name, _ in volumes}
        case PhysicalVolumeContent(unreadable=reason):
            return bool(reason)
    return False


def _mounts(disk: BlockDevice, path: Path, keyring: Keyring) -> tuple[GuestMount, ...]:
    """Of the system on the largest file system that has users; empty if none can be read here."""
    try:
        homes = [h for h in find_homes(disk, path, keyring=keyring).systems if h.paths.find(_MARK)]
    except Unknown:
        return ()
    return max(homes, key=lambda home: home.paths.root.tree.device.size).mounts if homes else ()


def _to_open(facts: Facts, mounts: Sequence[GuestMount]) -> list[DevicePath]:
    """The containers and volumes that they are in."""
    nodes = {mount.node for mount in mounts}
    # Without a table the whole disk is number 0, as in DevicePath.
    parts = facts.table.partitions if facts.table else (Partition(0, 0, facts.image.virtual_size),)
    outermost = (
        (DevicePath(part.number, part.start, part.size), facts.contents.get(part.number))
        for part in parts
    )
    return [
        place
        for outer, content in outermost
        for place in places_within(outer, content)
        if place.device in nodes
    ]


def _root(backend: Backend, facts: Facts, *, direct: bool) -> str:
    """The device with the guest's root: the largest file system that has users."""
    for device in _candidates(backend, facts, direct=direct):
        try:
            with backend.mounted_guest(device, writable=False) as guest:
                if guest.exists(_MARK):
                    return device
        except Unknown:
            continue
    if direct:  # there are logical volumes, and file systems that only a kernel reads
        raise ToolFailed(
            "looking for the guest's root", 1, "no ext file system right in a partition has users"
        )
    raise _no_root()


def _no_root() -> Refused:
    hint = "growdisk show draws what is in it; what is encrypted needs its passphrase: --key-file"
    reason = f"no file system in the image has {_MARK}"
    return cannot_customize("find the root file system", reason, hint)


def _candidates(backend: Backend, facts: Facts, *, direct: bool) -> Iterator[str]:
    kinds = _EXT if direct else _ROOTS
    # The largest first: a root is rarely a small one.
    found = [
        (content.size or 0, number)
        for number, content in facts.contents.items()
        if content.kind in kinds
    ]
    yield from (f"/dev/{facts.name_of(number)}" for _, number in sorted(found, reverse=True))
    yield from backend.logical_volumes()

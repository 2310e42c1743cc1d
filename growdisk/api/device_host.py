"""What of this host forbids working on a block device, or a run of it, and what cannot be known."""

from __future__ import annotations

from pathlib import Path

from growdisk.block.holders import use_of
from growdisk.block.host_blocks import free_room
from growdisk.block.host_devices import (
    device_number,
    disk_of_partition,
    linked_devices,
    memory_under,
    mounts,
    partitions_of,
    value_of,
)
from growdisk.block.opening import refuse_read_only
from growdisk.errors import GrowdiskError, ImageError, ImageInUse, Refused, shell_word
from growdisk.fast_dataclass import replace
from growdisk.live.local_guests import running_users
from growdisk.planner.plan import Plan
from growdisk.qcow2.image import Qcow2Image
from growdisk.storage.device import device_size, look_at_storage
from growdisk.storage.lvm import foreign_owner
from growdisk.storage.rbd import clients_of, refuse_other_clients
from growdisk.units import Bytes, MiB, align_up, format_size
from growdisk.workflow.run_directory import RESERVE, RunDirectory
from growdisk.workflow.run_places import state_folder

_SYSTEM = frozenset({"/", "/boot", "/boot/efi", "/usr", "/var"})
_OVERLAYS = 64 * MiB
_SHARE = 512  # of what is grown by, what a file system writes into its new room while it grows


def refuse_unfit_device(path: Path) -> None:
    """device-read-only, owned-elsewhere, on-system-disk."""
    number = path.stat().st_rdev
    refuse_read_only(path, number)
    if value_of(number, "dm/uuid").startswith("LVM-") and (owner := _owner_elsewhere(number)):
        raise ImageError.named(
            "owned-elsewhere",
            "cannot work on {path}",
            "its volume group belongs to another host ({owner}), where a guest may run on it",
            "run growdisk on that host, or make the group this host's own (vgchange --systemid)",
            {"path": path, "owner": owner},
        )
    # For partitions alone: a whole disk that the host runs from is in use by its mounts.
    disk = disk_of_partition(number)
    if disk is not None and isinstance(disk.node, int) and (place := _system_place(disk.node)):
        raise ImageError.named(
            "on-system-disk",
            "cannot work on {path}",
            "it is a partition of the disk that this host runs from ({place} is mounted from that "
            "disk)",
            "growdisk grows the disks of guests; name a guest's volume or image",
            {"path": path, "place": place},
        )


def refuse_unsafe_place(path: Path, directory: RunDirectory, plan: Plan) -> None:
    """state-in-memory, no-room-for-run: where the run of a device would lie."""
    folder = state_folder()
    if plan.snapshots != "none" and (kind := memory_under(folder)):
        raise Refused.named(
            "state-in-memory",
            "cannot keep a run of {path} safe",
            "{folder} lies on {kind}, the host's memory: a power cut would lose it half-way",
            "choose a folder on a disk (--state-dir DIR), or do without a way back (--snapshots "
            "none)",
            {"path": path, "folder": folder, "kind": kind},
        )
    if plan.snapshots == "overlay":
        existing = next(one for one in (directory.path, *directory.path.parents) if one.exists())
        wanted, free = _room_for(plan), free_room(existing)
        if wanted > free:
            raise Refused.named(
                "no-room-for-run",
                "cannot begin a run on {path}",
                "what it sets aside may take {wanted} in {folder}, which has {free} free",
                "free some space there, or choose another folder (--state-dir DIR)",
                {"path": path, "folder": folder, "wanted": Bytes(wanted), "free": Bytes(free)},
            )


def fit_to_device(plan: Plan, path: Path, directory: RunDirectory) -> Plan:
    """The plan with a note on room; refused as by refuse_unsafe_place."""
    refuse_unsafe_place(path, directory, plan)
    if plan.after.image.format != "qcow2":
        # A raw disk on a device is as large as the device: it can lack nothing.
        return plan
    # A qcow2 image fills as its guest does: what the device will lack then.
    size, room = plan.after.image.virtual_size, device_size(path)
    missing = align_up(size + size // _TABLES - room, MiB)
    if missing <= 0:
        return plan
    note = (
        f"the device has {format_size(room)}: before the guest has filled its disk, make it about "
        f"{format_size(missing)} larger ({_how(path, missing)})"
    )
    return replace(plan, notes=(*plan.notes, note))


def _room_for(plan: Plan) -> int:
    """Bytes: overlays with what the steps write, all that moves, and once more for undo files."""
    steps = [step.own for step in plan.steps]
    growth = sum(step.added for step in steps)
    moved = sum(move.size for step in steps for move in step.moves)
    written = _OVERLAYS + growth // _SHARE + moved
    return RESERVE + (2 if plan.keep else 1) * written


def refuse_unseen_users(path: Path) -> None:
    """Refuse what no process shows that this user may look at: libvirt's guests, Ceph's clients."""
    # An ordinary user does not see the processes of libvirt's machines.
    if names := running_users(path.stat().st_rdev):
        raise ImageInUse(path, holder=f"the running machine {names[0]} of libvirt")
    refuse_other_clients(path)


def doubt_about_device(path: Path) -> str:
    """What cannot be known of who uses it; "" if everything is known."""
    unseen = list(use_of(path, claimed=True).unseen)
    if clients_of(path) is None:
        unseen.append("the Ceph cluster (rbd status gave no answer)")
    return f"whether {path} is in use was not looked up in {', '.join(unseen)}" if unseen else ""


def _owner_elsewhere(number: int) -> str:
    """Of a volume of LVM; "" if LVM cannot be asked."""
    try:
        return foreign_owner(number)
    except (GrowdiskError, OSError, ValueError):
        return ""


def _system_place(disk: int) -> str:
    """Where the host has mounted a part of `disk` that it runs from; "" if it has none."""
    on_disk = set(_built_on(disk))
    for mount in mounts():
        # btrfs has a device number of its own in the list of mounts: there the source tells.
        if mount.place in _SYSTEM and (
            mount.number in on_disk or device_number(mount.source) in on_disk
        ):
            return mount.place
    return ""


def _built_on(number: int) -> list[int]:
    # What is mounted may be several layers up: a partition, in it LUKS, in that LVM.
    upper = [*partitions_of(number), *linked_devices(number, "holders")]
    return [number, *(built for device in upper for built in _built_on(device))]


# --- the room of a qcow2 image on a device is the device's, as in oVirt's LVs ---------------------


# bytes of data, of clusters of 64 KiB, for each byte of the tables that map and count them
_TABLES = 4096


def refuse_full_device(path: Path, image: Qcow2Image, cluster_size: int, needed: int) -> None:
    """no-room-on-device, if less than `needed` bytes of the device at `path` are free."""
    # The file of a qcow2 image on a device is the device: what no refcount counts is free.
    clusters = device_size(path) // cluster_size
    free = (clusters - image.used_clusters(clusters)) * cluster_size
    if free < needed:
        missing = align_up(needed - free, MiB)
        raise ImageError.named(
            "no-room-on-device",
            "{path} cannot grow so far: its device has no room for that",
            "the run takes at least {wanted} of the device, and {free} of it are not in use",
            "make the device {missing} larger first ({how}), then run the same command again",
            {
                "path": path,
                "wanted": Bytes(needed),
                "free": Bytes(free),
                "missing": Bytes(missing),
                "how": _how(path, missing),
            },
        )


def _how(path: Path, missing: int) -> str:
    storage = look_at_storage(path)
    if storage.kind == "lvm":
        return f"lvextend --size +{missing // MiB}m {storage.name}"
    if storage.kind == "loop":
        return (
            f"truncate --size +{missing // MiB}M {shell_word(Path(storage.name))}; losetup "
            f"--set-capacity {path}"
        )
    return storage.hint or "with the tools of its storage"

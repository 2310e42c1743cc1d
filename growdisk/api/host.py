"""What this host says to a run: who uses its images, what cannot be known, which tools are here.

What is so of block devices alone is in device_host.py. That loads all kinds of storage, and is
loaded for a device.
"""

from __future__ import annotations

from pathlib import Path

from growdisk.block.holders import refuse_users
from growdisk.block.host_devices import LOCAL_LOCKS, is_shared, mount_of
from growdisk.block.locks import others_write
from growdisk.block.opening import require_writable
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.command import PACKAGES, is_here
from growdisk.planner.facts import ImageFacts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.plan import Plan
from growdisk.planner.refusals import device_cannot_grow
from growdisk.steps.registry import DiskStep, ExtraDiskStep
from growdisk.steps.resize_image import GrowDevice
from growdisk.steps.step_traits import of_kind
from growdisk.storage.values import Storage
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.run_places import is_device_or_served, is_served

_AT_SERVER = (
    "the server gives {} to one client at a time, and that is growdisk; who else uses what it "
    "serves is known only there (QEMU's own server holds QEMU's lock on it)"
)
_AT_FAR_HOST = (
    "QEMU's lock on {} is held on its host; a guest without locks (locking=off), or of a third "
    "host, is not seen from here"
)
_FIXED = "its server says how large it is, and no client can change that"


def refuse_unfit_host(path: Path, options: RunOptions) -> None:
    """ImageInUse, use-unknown or ImageNotReadable for the image and the guest's other disks.

    The last one is raised if it cannot be written to.
    """
    for disk_path in (path, *(other.path for other in options.others)):
        if disk_path.is_block_device():
            from growdisk.api.device_host import refuse_unfit_device

            refuse_unfit_device(disk_path)
        elif disk_path.is_file():
            require_writable(disk_path)
        _refuse_in_use(disk_path, not_in_use=options.not_in_use)


def facts_of_host(image: ImageFacts, path: Path, goal: Goal) -> ImageFacts:
    """With the storage below a raw device, if the goal is that it grows."""
    if goal.size is None or image.format != "raw" or not is_device_or_served(path):
        return image
    if is_served(path):
        return replace(
            image, storage=Storage("other", "", obstacle=_FIXED, hint="grow it at its server")
        )
    from growdisk.storage.device import look_at_storage

    return replace(image, storage=look_at_storage(path))


def fit_to_host(plan: Plan, path: Path, directory: RunDirectory, options: RunOptions) -> Plan:
    """The plan with notes on what this host does not show.

    Refused if the host has no room for it, or no place to keep the run: storage-full,
    storage-refuses, state-in-memory, no-room-for-run.
    """
    refuse_full_storage(plan, path)
    for step in plan.steps:
        _refuse_fixed_size(plan, path, step)
    if is_device_or_served(path):
        from growdisk.api.device_host import fit_to_device

        plan = fit_to_device(plan, path, directory)
    doubts = filter(None, map(_doubt, (path, *(other.path for other in options.others))))
    return replace(plan, notes=(*doubts, *plan.notes))


def refuse_full_storage(plan: Plan, path: Path) -> None:
    """storage-full, storage-refuses: if the host's storage does not have what the plan needs."""
    for step in of_kind(GrowDevice, plan.steps):
        from growdisk.storage.device import refuse_without_room

        refuse_without_room(path, step.storage, step.new_size)


def _refuse_fixed_size(plan: Plan, path: Path, step: DiskStep | ExtraDiskStep) -> None:
    """device-cannot-grow for a device that must grow, if the plan has only the guest's layers."""
    # Step.disk counts from 0, the first disk; the plan lists only the others.
    extra = plan.extra_disks[step.disk - 1] if step.disk else None
    disk, kind = (Path(extra.path), extra.format) if extra else (path, plan.before.image.format)
    grows = step.own.added and not isinstance(step, GrowDevice)
    if grows and kind == "raw" and disk.is_block_device():
        reason = "only the first disk of a run grows from the host's storage up"
        hint = "grow it by its own tools first"
        raise device_cannot_grow(disk, reason=reason, hint=hint)


def _refuse_in_use(path: Path, *, not_in_use: bool) -> None:
    is_device = path.is_block_device()
    # A lease shows at once that nobody has the file open to write. All else is searched in /proc.
    if not is_device and (not path.is_file() or others_write(path) == "nobody"):
        return
    try:
        refuse_users(path, not_in_use=not_in_use)
    except OSError:
        return  # opening it will say why
    if is_device:
        from growdisk.api.device_host import refuse_unseen_users

        refuse_unseen_users(path)


def _doubt(path: Path) -> str:
    """What cannot be known of who uses it; "" if everything is known."""
    if path.is_block_device():
        from growdisk.api.device_host import doubt_about_device

        return doubt_about_device(path)
    if is_served(path):
        if path.parent.name.startswith("ssh-"):
            return _AT_FAR_HOST.format(path)
        return _AT_SERVER.format(path)
    mount = mount_of(path)
    if mount is None or not is_shared(mount):
        return ""
    # A mount with one of these options does not pass QEMU's locks on to the server.
    kept = ", ".join(sorted(mount.options & LOCAL_LOCKS))
    reach = f", and this mount keeps locks to this host ({kept})" if kept else ""
    return (
        f"{path} lies on {mount.kind} ({mount.source}): whether a guest of another host has it is "
        f"known only by QEMU's locks{reach}"
    )


# --- the planner's questions about this machine (planner/backend_choice.py) ----------------------


@dataclass(frozen=True)
class FoundTools:
    """Implements HostTools; what tries something out is loaded when it is asked.

    `tried`: this machine's tools have just worked here, confined.
    """

    tried: bool = False

    def why_no_tool(self, tool: str) -> str:
        if is_here(tool):
            return ""
        return f"{tool} is not installed: sudo apt-get install {PACKAGES[tool]}"

    def why_not_direct(self) -> str:
        from growdisk.backends.available import why_no_direct

        return str(why_no_direct(tried=self.tried) or "")

    def why_no_kernel(self) -> str:
        from growdisk.backends.available import why_no_uml

        return str(why_no_uml() or "")

    def has_appliance(self) -> bool:
        from growdisk.backends.available import has_appliance

        return has_appliance()

    def e2fsprogs(self) -> tuple[int, int]:
        from growdisk.backends.available import e2fsprogs_version

        return e2fsprogs_version()

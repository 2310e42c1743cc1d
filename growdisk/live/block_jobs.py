"""QEMU's jobs on a running machine's images: snapshots with memory, overlays, merging.

Traps, all measured with QEMU 7.2: a snapshot-load that fails leaves the machine stopped in the
state "restore-vm"; snapshot-save accepts any list of disks without a warning, and if a writable
disk is left out, memory and disks no longer fit together; saving and loading stop the machine, and
the monitor, for as long as they take. A job has a name that a later process finds: one that was
left behind by a growdisk that died is waited for, not begun a second time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from growdisk.errors import OperationFailed
from growdisk.fast_dataclass import dataclass
from growdisk.live.live_disk import LiveDisk
from growdisk.live.qemu_machine import OUR_JOBS, CommandRefused, Machine

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


def _job_failed(verb: str, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "job-failed",
        "QEMU could not {verb}",
        "{reason}",
        "fix the cause (df -h shows full file systems on the host), and run the same command again",
        {"verb": verb, "reason": reason},
    )


@dataclass(frozen=True)
class _Job:
    id: str
    status: str
    error: str = ""


def snapshot_disks(machine: Machine) -> tuple[LiveDisk, ...]:
    """The disks that a snapshot must take together, so that memory and disks agree."""
    return tuple(disk for disk in machine.disks() if not disk.read_only)


def save(machine: Machine, key: str, name: str) -> None:
    """Take a snapshot of memory and all writable disks.

    The memory goes into the image of the disk `key`.
    """
    _run(
        machine, "snapshot-save", "take a snapshot of the running guest", **_all(machine, key, name)
    )


def load_snapshot(machine: Machine, key: str, name: str) -> None:
    """Continue the machine from the instant of the snapshot, with the disk sizes of then."""
    try:
        _run(machine, "snapshot-load", "put the running guest back", **_all(machine, key, name))
    except OperationFailed:
        # A machine whose load failed stays stopped; nobody else would start it again.
        if machine.status() == "restore-vm":
            machine.monitor.execute("cont")
        raise


def _all(machine: Machine, key: str, name: str) -> dict[str, object]:
    nodes = [disk.node for disk in snapshot_disks(machine)]
    return {"tag": name, "vmstate": machine.disk(key).node, "devices": nodes}


def delete(machine: Machine, name: str) -> None:
    holders = [disk.node for disk in snapshot_disks(machine) if name in disk.snapshots]
    if holders:
        _run(machine, "snapshot-delete", "delete a snapshot", tag=name, devices=holders)


def put_overlay(machine: Machine, key: str, overlay: Path, node: str) -> None:
    """Let the guest write to `overlay` from now on, an existing qcow2 file of the disk's size."""
    machine.monitor.execute(
        "blockdev-snapshot-sync",
        node_name=machine.disk(key).node,
        snapshot_file=str(overlay),
        snapshot_node_name=node,
        format="qcow2",
        mode="existing",
    )


def merge_overlays(
    machine: Machine, key: str, base_node: str, check: Callable[[], None] = lambda: None
) -> None:
    """Merge all overlays down to `base_node`, while the guest runs, and let it continue there.

    If `check` raises, the job is cancelled: the guest stays on its overlays, and a later merge
    does it all again.
    """
    job = f"{OUR_JOBS}merge"
    # Of a growdisk that died: its job is the same, and goes on.
    if not _find(machine, job):
        machine.monitor.execute(
            "block-commit",
            job_id=job,
            device=machine.disk(key).node,
            base_node=base_node,
            # Kept when it has ended: a growdisk that comes later must still learn how.
            auto_dismiss=False,
        )
    while (found := _find(machine, job)) and found.status != "concluded":
        # The guest writes on, so the job never ends by itself: it must be asked to switch over.
        if found.status == "ready":
            machine.monitor.execute("job-complete", id=job)
        time.sleep(_FIRST_PAUSE)
        try:
            check()
        except BaseException:
            _cancel(machine, job)
            raise
    _end(machine, found, "merge the overlays")


def _cancel(machine: Machine, name: str) -> None:
    """Cancel a job, or let it end if it is about to switch over; dismiss it in both cases."""
    with contextlib.suppress(CommandRefused):
        machine.monitor.execute("block-job-cancel", device=name, force=True)
    if ended := _wait(machine, _find(machine, name)):
        machine.monitor.execute("job-dismiss", id=ended.id)


def mark(machine: Machine, name: str) -> None:
    """Leave an object in this QEMU process that does nothing, to know the process again."""
    if not is_marked(machine, name):
        # A throttle group without drives does nothing, and lives as long as the process.
        machine.monitor.execute("object-add", qom_type="throttle-group", id=name)


def is_marked(machine: Machine, name: str) -> bool:
    return machine.property_of(f"/objects/{name}", "type") == "throttle-group"


def unmark(machine: Machine, name: str) -> None:
    if is_marked(machine, name):
        machine.monitor.execute("object-del", id=name)


def _run(machine: Machine, command: str, verb: str, **arguments: object) -> None:
    job = f"{OUR_JOBS}{command}"
    # Of a growdisk that died: it may still be at work, and its name is taken until it is dismissed.
    if left := _find(machine, job):
        _wait(machine, left)
        machine.monitor.execute("job-dismiss", id=job)
    machine.monitor.execute(command, job_id=job, **arguments)
    _end(machine, _wait(machine, _find(machine, job)), verb)


def _wait(machine: Machine, job: _Job | None) -> _Job | None:
    pause = _FIRST_PAUSE
    while job is not None and job.status != "concluded":
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        job = _find(machine, job.id)
    return job


def _end(machine: Machine, job: _Job | None, verb: str) -> None:
    if job is None:
        raise _job_failed(verb, reason="its job vanished")
    machine.monitor.execute("job-dismiss", id=job.id)
    if job.error:
        raise _job_failed(verb, reason=job.error)


def _find(machine: Machine, name: str) -> _Job | None:
    jobs = machine.ask("query-jobs", tuple[_Job, ...])
    return next((job for job in jobs if job.id == name), None)

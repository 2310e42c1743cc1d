"""Ends a run that an image only carries, without its folder, by the run's snapshots.

Going back is possible as long as the snapshot from before the run's first step is there. Which
other disks took part is not known, so neither way is taken without being asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from growdisk.api.guard import CarriedRun, carried_by, is_recorded, refuse_dependents
from growdisk.api.result import Outcome, Result
from growdisk.api.session import layout_now
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, field
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import real
from growdisk.qcow2.probe import probe_to_write
from growdisk.qcow2.repair import repair
from growdisk.steps.disk import Disk
from growdisk.volumes.keyring import Keyring


def commit_carried(
    path: Path,
    keys: tuple[bytes, ...] = (),
    *,
    not_in_use: bool = False,
    sector_size: int = 512,
) -> Result:
    """Keep the image as it is, and remove the snapshots of all runs and their mark.

    `sector_size` is the disk's logical one, by which the layout in the Result is read.
    """

    def accept(image: Qcow2Image, carried: CarriedRun) -> None:
        _forget(image, [snapshot.name for snapshot in carried.snapshots])

    use = _Use(keys, not_in_use, sector_size)
    return _ended(path, "commit", "changed", accept, use)


def rollback_carried(
    path: Path,
    keys: tuple[bytes, ...] = (),
    *,
    overlays_may_break: bool = False,
    not_in_use: bool = False,
    sector_size: int = 512,
) -> Result:
    """Go back to before the latest run, and remove what the image carries of it.

    `sector_size`: as for commit_carried.
    """

    def back(image: Qcow2Image, carried: CarriedRun) -> None:
        if carried.first is None:
            reason = (
                "the snapshot from before the run is gone; growdisk commit --force keeps the "
                "image as it is"
            )
            raise _nothing_carried(path, verb="roll back", reason=reason)
        refuse_dependents(path, overlays_may_break=overlays_may_break)
        image.apply_snapshot(carried.first.name)
        _forget(
            image, [snapshot.name for snapshot in carried.snapshots if snapshot.run == carried.run]
        )

    use = _Use(keys, not_in_use, sector_size)
    return _ended(path, "roll back", "restored", back, use)


@dataclass(frozen=True)
class _Use:
    """What the user said of the disk, as the parameters above."""

    keys: tuple[bytes, ...] = field(repr=False)
    not_in_use: bool
    sector_size: int


def _ended(
    path: Path,
    verb: str,
    outcome: Outcome,
    action: Callable[[Qcow2Image, CarriedRun], None],
    use: _Use,
) -> Result:
    with closing(
        Disk.open(real(path), probe_to_write(path), not_in_use=use.not_in_use, key=use.keys)
    ) as disk:
        carried = carried_by(disk.active)
        if carried is None or is_recorded(path, carried):
            reason = "its run is recorded beside it" if carried else "it carries no run of growdisk"
            raise _nothing_carried(path, verb=verb, reason=reason)
        before = layout_now(disk, path, use.sector_size, Keyring(use.keys))
        repair(disk.file, disk.path, errors=False)  # what a crash left half-made: leaks, no more
        image = disk.base(writable=True)
        assert isinstance(image, Qcow2Image)
        # It writes through this view; the disk still reads through its own, until that is
        # activated.
        action(image, carried)
        disk.activate(image)
        after = layout_now(disk, path, use.sector_size, Keyring(use.keys))
    return Result(outcome, carried.run or None, None, before, after)


def _forget(image: Qcow2Image, names: list[str]) -> None:
    """The latest first, so that the way back is whole as long as there is one."""
    for name in reversed(names):
        image.delete_snapshot(name)
    # After the snapshots: as long as there is a mark, the image tells of a run that is not over.
    image.set_run_mark(on=False)
    image.flush()


def _nothing_carried(path: Path, verb: str, reason: str) -> Refused:
    return Refused.named(
        "nothing-carried",
        "there is nothing to {verb} by force in {path}",
        "{reason}",
        "growdisk status {path} says how it stands",
        {"path": path, "verb": verb, "reason": reason},
    )

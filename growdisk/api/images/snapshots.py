"""Internal snapshots by name or by id.

What could mean two of them is refused, where qemu-img picks one.
"""

from __future__ import annotations

from pathlib import Path

from growdisk.api.guard import ConflictGuard
from growdisk.api.images.opening import opened_qcow2
from growdisk.errors import ImageError
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.snapshots import SnapshotInfo, snapshot_not_found

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Literal

    Selector = Literal["id", "name"]
else:
    Selector = str
_NOUN = "snapshots"


def create_snapshot(path: Path, name: str, *, overlays_may_break: bool = False) -> SnapshotInfo:
    """Keep the image's present state under `name`."""
    with _changing(path, overlays_may_break) as image:
        return image.create_snapshot(name)


def apply_snapshot(
    path: Path, name: str, selector: Selector | None = None, *, overlays_may_break: bool = False
) -> None:
    """Go back to a snapshot; `name` is its name or id, `selector` says which if it may be both."""
    with _changing(path, overlays_may_break) as image:
        image.apply_snapshot(name, by_id=is_id(image, name, selector))


def delete_snapshot(
    path: Path, name: str, selector: Selector | None = None, *, overlays_may_break: bool = False
) -> None:
    """Delete a snapshot; `name` is its name or id, `selector` says which if it may be both."""
    with _changing(path, overlays_may_break) as image:
        image.delete_snapshot(name, by_id=is_id(image, name, selector))


def _changing(path: Path, overlays_may_break: bool) -> AbstractContextManager[Qcow2Image]:
    guard = ConflictGuard(path, overlays_may_break)
    return opened_qcow2(path, _NOUN, with_backing=False, guard=guard)


def is_id(image: Qcow2Image, name: str, selector: Selector | None) -> bool:
    """Whether `name` is an id here.

    snapshot-id-or-name if it is the id of one snapshot and the name of another.
    """
    if selector is not None:
        return selector == "id"
    named = [snapshot for snapshot in image.snapshots() if snapshot.name == name]
    numbered = [snapshot for snapshot in image.snapshots() if snapshot.id == name]
    if not named and not numbered:
        raise snapshot_not_found(image.path, name=name)
    # One snapshot that has "1" for both is meant in either case.
    if named and any(snapshot not in named for snapshot in numbered):
        raise ImageError.named(
            "snapshot-id-or-name",
            "'{name}' is the id of one snapshot of {path} and the name of another",
            "it does not say which one is meant",
            "say --id {name} or --name {name}",
            {"path": image.path, "name": name},
        )
    return not named

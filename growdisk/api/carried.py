"""What an image itself carries of a run: the mark of an unfinished one, and its snapshots.

The plan and the journal are in the folder beside the image. An image that was renamed, copied or
restored without that folder still carries these two, and they would stay in it for ever if nobody
looked.
"""

from __future__ import annotations

from growdisk.errors import ImageError, shell_word
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import Header
from growdisk.steps.internal_snapshots import RunSnapshot, run_snapshots

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class CarriedRun:
    """`run` is "" if only the mark is there; `snapshots` are those of all runs, oldest first."""

    run: str
    is_marked: bool
    snapshots: tuple[RunSnapshot, ...]

    @property
    def state(self) -> str:
        """`unfinished` while nobody else has written to the image, else `kept`: snapshots are."""
        return "unfinished" if self.is_marked else "kept"

    @property
    def first(self) -> RunSnapshot | None:
        """The snapshot from before the whole run; None if it is gone."""
        return next(
            (
                snapshot
                for snapshot in self.snapshots
                # Snapshots count from 1, and the first is taken before anything is changed.
                if (snapshot.run, snapshot.number) == (self.run, 1)
            ),
            None,
        )


def run_without_folder(path: Path, run: CarriedRun, folder: str, beside: str) -> ImageError:
    """`folder` should lie beside the image; `beside`: where the run's folder lies, or ""."""
    found = f"{len(run.snapshots)} snapshots of run {run.run} are in it"
    image = shell_word(path)
    bring = f"bring that folder along ({beside or 'from where the image was'})"
    back = f"growdisk rollback --force {image} goes back to before the run, "
    return ImageError.named(
        "run-without-folder",
        "{path} carries {_a_run} run of growdisk, and its folder is not here",
        "{_found}, but {folder} does not have its plan and journal: was the image renamed or "
        "copied?",
        "{hint}",
        {
            "path": path,
            "run": run.run,
            "state": run.state,
            "snapshots": tuple(snapshot.name for snapshot in run.snapshots),
            "folder": folder,
            "beside": beside,
            "_a_run": "an unfinished" if run.is_marked else "a kept",
            "_found": found if run.snapshots else "it has the mark of one",
            "hint": f"{bring}; without it, {back if run.first else ''}growdisk commit --force "
            f"{image} keeps the image as it is and removes what it carries",
        },
    )


def carried_run(header: Header | None, names: Iterable[str]) -> CarriedRun | None:
    """What an image with this header and snapshots of these `names` carries."""
    if header is None:
        return None
    marked = bool(header.autoclear & Autoclear.GROWDISK_RUN)
    snapshots = run_snapshots(names)
    if not marked and not snapshots:
        return None
    # A run's name begins with its date and time: the largest is the newest.
    latest = max((snapshot.run for snapshot in snapshots), default="")
    return CarriedRun(latest, marked, tuple(snapshots))

"""The guard before every verb that writes to an existing image: whose work would be spoiled?

That of a run of growdisk, which is unfinished or can still be taken back, and that of the images
that lie on this one. Every opening for writing goes through here, once the file is locked and
before its first byte is written.

A run's plan and journal are in the folder beside the image. The image itself carries the mark of
an unfinished run, and its snapshots. One that was renamed, copied or restored without that folder
still does, and they would stay in it for ever if nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

from growdisk.api.overlays import dependents_of
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageError, ImageNotReadable, ReferenceOutside, Refused, shell_word
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.backing import MAX_DEPTH, data_file_path
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import Header, read_header
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import backing_path, exists, real, require_trusted
from growdisk.qcow2.probe import ImageFormat, recorded_format
from growdisk.storage.proxmox import suspended_with
from growdisk.workflow.run_places import may_have_run
from growdisk.workflow.snapshots import RunSnapshot, run_snapshots

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.workflow.run_directory import RunDirectory


_NAMED = 5  # overlays that a message lists
_MOST_FOLDERS = 1000


@dataclass(frozen=True)
class CarriedRun:
    """What the image at `path` carries.

    `run` is "" if only the mark is there; `snapshots` are those of all runs, oldest first.
    """

    path: Path
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
        # Snapshots count from 1, and the first is taken before anything is changed.
        found = (one for one in self.snapshots if (one.run, one.number) == (self.run, 1))
        return next(found, None)

    @property
    def is_recorded(self) -> bool:
        """Whether the folder beside the image is that of the run that it carries."""
        leading = _run_directory(self.path).leading()
        # Empty if only the mark is there, which names no run: an open record beside it is its own.
        runs = {snapshot.run for snapshot in self.snapshots}
        if not (leading.state().is_open and runs):
            return leading.state().is_open
        try:
            return leading.run() in runs
        except Refused:  # a plan that cannot be read records nothing
            return False

    @property
    def is_without_folder(self) -> bool:
        """Whether the run that an image carries is not recorded beside it.

        The mark of a run that never began hinders nobody: the next to write to the image removes
        it.
        """
        if self.is_recorded:
            return False
        return bool(self.snapshots) or not _run_directory(self.path).never_began()


def carried_run(path: Path, header: Header, names: Iterable[str]) -> CarriedRun | None:
    """What an image with this header and snapshots of these `names` carries."""
    marked = bool(header.autoclear & Autoclear.GROWDISK_RUN)
    snapshots = run_snapshots(names)
    if not marked and not snapshots:
        return None
    # A run's name begins with its date and time: the largest is the newest.
    latest = max((snapshot.run for snapshot in snapshots), default="")
    return CarriedRun(path, latest, marked, tuple(snapshots))


def carried_in(file: BlockDevice, path: Path, header: Header | None) -> CarriedRun | None:
    """What the image in `file` carries of a run."""
    # Most images: nothing more has to be loaded or read.
    if header is None or not (header.snapshot_count or header.autoclear):
        return None
    from growdisk.qcow2.snapshots import read_entries

    return carried_run(path, header, [entry.name for entry in read_entries(file, path, header)])


def carried_at(path: Path) -> CarriedRun | None:
    """The same without a lock: what can be read of it while somebody may be writing.

    A damaged image carries nothing. ImageNotReadable if there is no image of that name.
    """
    with closing(RawFile.open(path, lock=False)) as file:
        try:
            return carried_in(file, path, read_header(file, path))
        except ImageError:
            # Damaged; or raw, which has no header.
            return None
        except OSError as error:
            raise ImageNotReadable(path, reason=error.strerror or str(error)) from error


def carried_by(device: BlockDevice, path: Path) -> CarriedRun | None:
    """The same of an image that is open; None for raw."""
    if not isinstance(device, Qcow2Image):
        return None
    return carried_run(path, device.header, [snapshot.name for snapshot in device.snapshots()])


def refuse_carried(carried: CarriedRun | None) -> None:
    """run-without-folder for a run that an image carries, unless it is recorded beside it."""
    if carried is not None and carried.is_without_folder:
        raise without_folder(carried)


def without_folder(run: CarriedRun) -> ImageError:
    """The refusal of a run that is_without_folder."""
    path = run.path
    found = f"{len(run.snapshots)} snapshots of run {run.run} are in it"
    image, beside = shell_word(path), _folder_of(run.run, path)
    bring = beside or f"bring IMAGE.growdisk from where the image was, as {image}.growdisk"
    back = f"growdisk rollback --force {image} goes back to before the run, "
    return ImageError.named(
        "run-without-folder",
        "{path} carries {_a_run} run of growdisk, and its folder is not here",
        "{_found}, but {folder} does not have its plan and journal: the image was renamed or "
        "copied without them",
        "{hint}",
        {
            "path": path,
            "run": run.run,
            "state": run.state,
            "snapshots": tuple(snapshot.name for snapshot in run.snapshots),
            "folder": f"{path.name}.growdisk",
            "beside": beside,
            "_a_run": "an unfinished" if run.is_marked else "a kept",
            "_found": found if run.snapshots else "it has the mark of one",
            "hint": f"{bring}; if it is lost, {back if run.first else ''}growdisk commit --force "
            f"{image} keeps the image as it is and removes what it carries",
        },
    )


def _folder_of(run: str, path: Path) -> str:
    """The command that brings the folder of `run`, if it lies near, to the image; or ""."""
    from growdisk.workflow.run_directory import RunDirectory

    for plan in islice(path.resolve().parent.glob("*.growdisk/plan.json"), _MOST_FOLDERS):
        with suppress(OSError, Refused):
            # IMAGE.growdisk: if there is no IMAGE, it was renamed, and the folder follows it.
            image = plan.parent.with_suffix("")
            if run and RunDirectory(image, plan.parent).run() == run:
                verb = "cp -a" if image.exists() else "mv"
                return f"{verb} {shell_word(plan.parent)} {shell_word(path)}.growdisk"
    return ""


def _run_directory(path: Path) -> RunDirectory:
    """Loaded for an image that may have a run: few have."""
    from growdisk.workflow.run_directory import RunDirectory

    return RunDirectory.of(path)


# --- whose work would be spoiled ------------------------------------------------------------------


@dataclass(frozen=True)
class ConflictGuard:
    """Refuses to write to the image at `path` where that would spoil what is somebody else's.

    What the image itself does not allow is in qcow2/write_guard.py.

    `overlays_may_break`: its owner said so, which is no consent for a machine whose memory is
    saved. `shows_the_same`: what is done changes nothing that a guest or an overlay sees. `merging`
    is an overlay whose data are on their way into this image, which spoils neither it nor what lies
    on it.
    """

    path: Path
    overlays_may_break: bool = False
    merging: Path | None = None
    shows_the_same: bool = False

    def __call__(self, file: BlockDevice, header: Header | None) -> None:
        """Raises run-stands-in-the-way, run-without-folder, memory-saved or overlays-on-it.

        `header` is None for raw.
        """
        refuse_run(self.path, carried_in(file, self.path, header))
        data_file = self._data_file(header)
        if data_file is not None:
            # A raw file: it carries no mark and no snapshots, but may have a folder beside it.
            refuse_run(data_file, None)
        if self.shows_the_same:
            return
        may_break = self.overlays_may_break
        refuse_dependents(self.path, merging=self.merging, overlays_may_break=may_break)
        if data_file is not None:
            # This image keeps its data there, and is not to count as somebody else's.
            refuse_dependents(data_file, merging=self.path, overlays_may_break=may_break)

    def _data_file(self, header: Header | None) -> Path | None:
        """The external data file; one outside the image's folder is refused when it is opened."""
        if header is None or not header.has(Incompatible.DATA_FILE):
            return None
        try:
            return data_file_path(self.path, header)
        except ReferenceOutside:
            return None


def refuse_run(path: Path, carried: CarriedRun | None) -> None:
    """run-stands-in-the-way for a recorded run; run-without-folder if only the image carries it."""
    if carried is None and not may_have_run(path):
        return
    from growdisk.workflow.run_directory import refuse_if_open

    refuse_if_open(_run_directory(path))
    refuse_carried(carried)


def refuse_run_at(path: Path) -> None:
    """As refuse_run(), for an image that is not open."""
    refuse_run(path, carried_at(path))


def refuse_run_below(path: Path) -> None:
    """As refuse_run_at(), for an image that others are to lie on, and for all that it lies on.

    Continuing one of their runs, or going back, would change what those show.
    """
    for each, carried in _carried_in_chain(path):
        refuse_run(each, carried)


def in_a_run(path: Path, *, alone: bool = False) -> Path | None:
    """Which file of those that the image shows is in the middle of a run; None if none is.

    A guest would see half of a change. `alone`: nothing below it counts.
    """
    chain = [(path, carried_at(path))] if alone else _carried_in_chain(path)
    return next((each for each, carried in chain if _is_in_a_run(each, carried)), None)


def _is_in_a_run(path: Path, carried: CarriedRun | None) -> bool:
    if carried is None and not may_have_run(path):
        return False
    from growdisk.workflow.journal import RunStatus

    if any(run.state().status is RunStatus.UNFINISHED for run in _run_directory(path).runs()):
        return True
    return carried is not None and carried.is_without_folder and carried.is_marked


def refuse_dependents(
    path: Path, *, merging: Path | None = None, overlays_may_break: bool = False
) -> None:
    """memory-saved if a machine will resume with what it knew of the image.

    overlays-on-it if other images lie on it.
    """
    # Not waived by overlays_may_break here: that says nothing of a machine's memory.
    if machine := suspended_with(path):
        raise _memory_saved(path, machine, f"qm resume {machine}, and shut it down from inside")
    found = dependents_of(path, apart_from=merging)
    if found.saved:
        machine = found.saved[0]
        hint = (
            f"virsh start {machine}, and grow it while it runs or after a shutdown; virsh "
            f"managedsave-remove {machine} gives its memory up, as a power cut does"
        )
        raise _memory_saved(path, machine, hint)
    if found.overlays and not overlays_may_break:
        overlays, more = tuple(map(str, found.overlays)), len(found.overlays) - _NAMED
        hint = (
            "work on the topmost image, which grows as well; or merge it down (growdisk image "
            "commit) and remove it; --overlays-may-break if nobody needs those any more"
        )
        if merging:
            hint = (
                "give each of them its own data first (growdisk image rebase OVERLAY -b ''); "
                "--overlays-may-break if nobody needs them any more"
            )
        top = Path(found.overlays[0].path)
        if top.suffix == ".vmdk":
            hint = (
                "make one image of both, and grow that: qemu-img convert -O qcow2 -f vmdk "
                f"{shell_word(top)} NEW.qcow2; --overlays-may-break if nobody needs the VMDK"
            )
        raise ImageError.named(
            "overlays-on-it",
            "other images lie on {path}",
            "{_names} would show the guest a mixture of two disks",
            "{_hint}",
            {
                "path": path,
                "overlays": overlays,
                "_names": ", ".join(overlays[:_NAMED]) + (f" and {more} more" if more > 0 else ""),
                "_hint": hint,
            },
        )


def _memory_saved(path: Path, machine: str, hint: str) -> ImageError:
    return ImageError.named(
        "memory-saved",
        "{path} is a disk of {machine}, whose memory is saved",
        "at its next start it goes on from there, and would not know of any change",
        "{_hint}",
        {"path": path, "machine": machine, "_hint": hint},
    )


# --- what an image lies on ------------------------------------------------------------------------


def _carried_in_chain(path: Path) -> Iterator[tuple[Path, CarriedRun | None]]:
    """The image at `path` and all that it lies on, with what each carries of a run."""
    yield path, carried_at(path)
    for each, its_format in files_below(path):
        if exists(each):
            yield each, carried_at(each) if its_format == "qcow2" else None


def files_below(path: Path) -> Iterator[tuple[Path, ImageFormat]]:
    """The data file of the image at `path`, then layer for layer what it lies on.

    Each with its format; one that can only be probed counts as qcow2.
    """
    above: list[Path] = []
    seen = {real(path)}
    # Ends at the first file that is not a qcow2 image, or cannot be read.
    while len(above) <= MAX_DEPTH and (header := header_at(path)) is not None:
        with suppress(ImageError):
            # A data file outside the folder is not followed; what the image lies on may be.
            if header.has(Incompatible.DATA_FILE):
                yield data_file_path(path, header), "raw"
        try:
            if header.backing_file is None:
                return
            below = backing_path(path, header.backing_file)
            require_trusted(path, below, header.backing_file, "backing file", above)
        except ImageError:
            return
        if real(below) in seen:
            # A chain that leads back into itself.
            return
        kind = recorded_format(header.backing_format) or "qcow2"
        yield below, kind
        if kind == "raw":
            return
        above.append(path)
        seen.add(real(below))
        path = below


def header_at(path: Path) -> Header | None:
    try:
        with closing(RawFile.open(path, lock=False)) as file:
            return read_header(file, path)
    except (ImageError, OSError):
        return None

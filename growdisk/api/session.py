"""Builds one run, new or from its journal: disk, snapshot store, journal, engine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from growdisk.api.current_run import CurrentRun
from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.errors import GrowdiskError, KeyNeeded, Refused, shell_word
from growdisk.fast_dataclass import dataclass, replace
from growdisk.partitions.table import FIRST_DISK
from growdisk.planner.facts import Facts
from growdisk.planner.goal import SnapshotMode
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.plan import Plan, encode_plan
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.device_path import DevicePath
from growdisk.steps.disk import Disk
from growdisk.steps.fingerprint import ImageFingerprint
from growdisk.steps.place_at_rest import is_openable
from growdisk.steps.registry import disk_name
from growdisk.steps.resize_image import GrowDevice
from growdisk.steps.run_backend import RunBackend
from growdisk.steps.step_traits import of_kind
from growdisk.steps.stores_at_rest import InternalSnapshots, SyncedSnapshots, shrink_device
from growdisk.steps.worker_at_rest import WorkerAtRest
from growdisk.units import ByteRange
from growdisk.volumes.keyring import Keyring
from growdisk.workflow.engine import Engine
from growdisk.workflow.failures import WITHHELD
from growdisk.workflow.journal import TOUCHED, Event, Journal, JournalRecord, RunState, RunStatus
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.snapshots import NoSnapshots, SnapshotStore

# Bytes: over the superblocks of ext (at 1 KiB) and btrfs (at 64 KiB), which a mount changes.
_SAMPLE = 128 << 10


@dataclass(frozen=True)
class Session:
    """A run in this process."""

    run: CurrentRun
    disk: Disk
    snapshots: SnapshotStore
    engine: Engine[WorkerAtRest]

    @classmethod
    def begin(cls, run: CurrentRun, disk: Disk, *, room: int = 0) -> Session:
        """A new run: planned and written down, not yet begun.

        OSError if the host has not `room` bytes for it.
        """
        run_disks = _run_disks(run, disk)
        for run_disk in run_disks:
            # Of a run that was killed before it began: the folder that says so is emptied next.
            if isinstance(run_disk.disk.active, Qcow2Image) and run_disk.disk.active.has_run_mark:
                _image(run_disk.disk, writable=True).set_run_mark(on=False)
        journal = run.directory.begin(encode_plan(run.plan), room)
        try:
            # The images first: once the journal has begun, each must show who else wrote to it.
            cls._announce(run_disks)
            journal.append(JournalRecord(Event.BEGIN, facts={"run": run.plan.run}))
        except BaseException:
            _remove_marks(run_disks)
            raise
        return cls._assemble(run, disk, journal)

    @staticmethod
    def _announce(run_disks: list[_RunDisk]) -> None:
        """Make each image and its folder say that a run is at work on it."""
        first, *others = run_disks
        for run_disk in others:
            # Before any mark: an image that bears one must lead to the run that it belongs to.
            run_disk.directory.take_part(first.directory)
        for run_disk in run_disks:
            if run_disk.snapshots == "internal":
                _image(run_disk.disk, writable=True).set_run_mark(on=True)
            elif run_disk.snapshots == "overlay":
                run_disk.fingerprint.set()

    @classmethod
    def reopen(cls, run: CurrentRun, disk: Disk, *, accepting: bool = False) -> Session:
        """A run that another process began. image-changed if the image is not as that one left it.

        `accepting` the image as it is now is possible for a kept run, whatever a guest has written
        since.
        """
        journal = Journal(run.directory.journal_file)
        state = run.directory.state()
        if not (state.finished or (accepting and state.status is RunStatus.KEPT)):
            from growdisk.qcow2.repair import repair  # a run that begins needs none of it

            run_disks = _run_disks(run, disk)
            # All are looked at before the first is repaired: a refusal leaves every image alone.
            for run_disk in run_disks:
                path = run.path if run_disk.disk is disk else run_disk.disk.path
                _refuse_changed(path, run.plan, run_disk, state)
            for run_disk in run_disks:
                # A fingerprint was set after the last write of ours: a repair would break it.
                if run_disk.disk.format == "qcow2" and not run_disk.fingerprint.exists():
                    # what a crash left half-made: leaks, no more
                    repair(run_disk.disk.file, run_disk.disk.path, errors=False)
        return cls._assemble(run, disk, journal)

    def refuse_locked(self) -> None:
        """KeyNeeded if the run works in something encrypted that none of the keys opens."""
        for number, disk in enumerate((self.disk, *self.disk.extra_disks)):
            for place in _places(self.run.plan, number):
                # Without layers it stands in the partition itself, and needs no key.
                if place.layers and not is_openable(disk, place, self.run.keyring):
                    reason = (
                        f"it goes on inside {place.name}, and no passphrase that was given opens it"
                    )
                    raise KeyNeeded(self.run.path if disk is self.disk else disk.path, reason)

    def explained(self, error: GrowdiskError | None) -> GrowdiskError | None:
        return error

    def layout_now(self) -> Layout | None:
        """None if the disk is lost, which is why the run has ended, or nobody has its key.

        A refusal to read it would say that nothing was touched.
        """
        with suppress(GrowdiskError, *WITHHELD):
            if not self.disk.is_locked:
                return layout_now(
                    self.disk, self.run.path, self.run.plan.sector_size, self.run.keyring
                )
        return None

    def others_now(self) -> tuple[tuple[Layout, Layout], ...]:
        """The further disks that were to grow: before, and as they are now."""
        found = []
        for number, (disk, known) in enumerate(
            zip(self.disk.extra_disks, self.run.plan.extra_disks, strict=True), 1
        ):
            if known.before is not None:
                with suppress(GrowdiskError, *WITHHELD):  # as of the first disk
                    name, sector_size = disk_name(number), self.run.plan.sector_size
                    after = layout_now(disk, disk.path, sector_size, self.run.keyring, name)
                    found.append((known.before, after))
        return tuple(found)

    def put_away(self) -> None:
        """Remove a finished run's folders; the first disk's, to which the others lead, last."""
        # Without the first one's folder, a crash here would leave folders that lead nowhere.
        for run_disk in reversed(_run_disks(self.run, self.disk)):
            run_disk.directory.put_away()

    @classmethod
    def _assemble(cls, run: CurrentRun, disk: Disk, journal: Journal) -> Session:
        # Making the stores activates the images: from here on each disk reads as the run left it.
        stores = [_snapshots(run.plan, run_disk, disk) for run_disk in _run_disks(run, disk)]
        worker = _worker(run, disk)
        backends = [worker.run_backend, *(other.run_backend for other in worker.extra_disks)]
        store = SyncedSnapshots(stores, backends, disk)
        engine = Engine(
            run.plan.steps,
            worker,
            store,
            journal,
            run.observer,
            keep=run.plan.keep,
            stop=run.stop,
            make_room=run.directory.make_room,
        )
        return cls(run, disk, store, engine)


def layout_now(
    disk: Disk, path: Path, sector_size: int, keyring: Keyring, name: str = FIRST_DISK
) -> Layout:
    """What is on the disk as it is now; nothing, if nobody has the key.

    `path` is the image as the user named it.
    """
    image = image_facts(disk.base(writable=False), path)
    if disk.is_locked:
        return layout_of(Facts(image, None, {}))
    others = [(extra, extra.path) for extra in disk.extra_disks]
    facts = inspect_device(disk, image, sector_size, keyring, others=others)
    return layout_of(replace(facts, disk=name))


def _worker(run: CurrentRun, disk: Disk) -> WorkerAtRest:
    """Who does the steps' work; a further disk that grows has a backend of its own."""
    plan, stop, keyring = run.plan, run.stop, run.keyring
    known = list(zip(disk.extra_disks, plan.extra_disks, strict=True))
    extra_disks = tuple(
        WorkerAtRest(
            other,
            RunBackend(
                other, stop, plan.sector_size, keyring, _places(plan, number), kind=planned.backend
            ),
            other.path,
            disk_name=disk_name(number),
        )
        for number, (other, planned) in enumerate(known, 1)
    )
    run_backend = RunBackend(
        disk,
        stop,
        plan.sector_size,
        keyring,
        _places(plan),
        # what is undone of a running guest's steps, when it is off, needs none
        kind="guestfs" if plan.backend == "online" else plan.backend,
        extra_disks=[other for other, planned in known if planned.before is None],
    )
    return WorkerAtRest(disk, run_backend, run.path, extra_disks)


def _places(plan: Plan, number: int = 0) -> list[DevicePath]:
    """Where its steps work on one of its disks, each once; a running guest's are left out."""
    steps = [step.own for step in plan.steps if step.disk == number]
    return list(dict.fromkeys(s.works_at for s in steps if s.works_at and not s.running))


@dataclass(frozen=True)
class _RunDisk:
    """A disk of the run, and where its snapshots lie."""

    disk: Disk
    directory: RunDirectory
    snapshots: SnapshotMode
    samples: tuple[ByteRange, ...] = ()

    @property
    def fingerprint(self) -> ImageFingerprint:
        return ImageFingerprint(self.directory.path / "pin", self.disk.path, self.samples)


def _run_disks(run: CurrentRun, disk: Disk) -> list[_RunDisk]:
    """The image first, then the extra disks."""
    known_disks = zip(disk.extra_disks, run.plan.extra_disks, strict=True)
    return [
        _RunDisk(disk, run.directory, run.plan.snapshots, _samples(run.plan.before)),
        *(
            # Not RunDirectory.of(): the plan has their paths with links resolved already.
            _RunDisk(other, RunDirectory(Path(known.path)), known.snapshots, _samples(known.before))
            for other, known in known_disks
        ),
    ]


def _remove_marks(run_disks: list[_RunDisk]) -> None:
    """Remove the marks of a run that could not begin, as far as images can be written."""
    # The others as long as the run's folder, the first one's, says that it never began.
    for run_disk in reversed(run_disks):
        with suppress(OSError):
            if run_disk.snapshots == "internal":
                _image(run_disk.disk, writable=True).set_run_mark(on=False)
        run_disk.directory.withdraw()


def _samples(layout: Layout | None) -> tuple[ByteRange, ...]:
    """Where a guest's work on a disk shows: its table, and the first blocks of partitions."""
    if layout is None:
        return (ByteRange(0, _SAMPLE),)
    size = layout.image.virtual_size
    # The last bytes too: a GPT has its backup there.
    starts = (0, *(part.start for part in layout.partitions), max(0, size - _SAMPLE))
    return tuple(ByteRange(start, min(start + _SAMPLE, size)) for start in starts)


def _snapshots(plan: Plan, run_disk: _RunDisk, first: Disk) -> SnapshotStore:
    names = [step.name for step in plan.steps]
    if run_disk.snapshots == "overlay":
        from growdisk.steps.overlay_snapshots import OverlaySnapshots

        def restore_size(restored: str) -> None:
            # Only the first disk of a run grows from its storage up (api/host.py).
            for grown in of_kind(GrowDevice, plan.steps) if run_disk.disk is first else ():
                if grown.name == restored:
                    # QEMU may not have known of all that the device had.
                    old_size = (grown.running and grown.device_size) or grown.old_size
                    shrink_device(first, old_size, grown.new_size)

        return OverlaySnapshots(
            run_disk.disk,
            run_disk.directory.path,
            names,
            run_disk.fingerprint,
            keep_undo=plan.keep,
            on_restored=restore_size,
        )
    # Without overlays a step writes to the image itself, which Disk has open to read so far.
    image = run_disk.disk.base(writable=True)
    run_disk.disk.activate(image)
    if not isinstance(image, Qcow2Image):
        return NoSnapshots()
    if run_disk.snapshots == "internal":
        return InternalSnapshots(image, plan.run, names)
    return _OnlyForward(image)


class _OnlyForward(NoSnapshots):
    def __init__(self, image: Qcow2Image) -> None:
        self._image = image

    def commit(self) -> None:
        self._image.try_to_store_bitmaps()

    keep = commit


def _refuse_changed(path: Path, plan: Plan, run_disk: _RunDisk, state: RunState) -> None:
    """image-changed, if going on would destroy what somebody else has written to the image."""
    # A running guest writes to its image all the time: its runs leave neither mark nor fingerprint.
    if plan.way is not None:
        return
    if state.committing or state.keeping:
        # Undo files fit only the image as it was left. A kept run's internal snapshots have no
        # fingerprint: they are whole whatever was written since, and a rollback gives that up.
        changed = state.status is RunStatus.KEPT and not run_disk.fingerprint.matches()
    elif run_disk.snapshots == "internal":
        # The mark is an autoclear bit: any other program that writes to the image clears it. As
        # long as no step has touched the image, nothing of ours depends on it.
        touched = any(record.event in TOUCHED for record in state.last.values())
        changed = (
            touched
            and not state.rolling_back
            and not _image(run_disk.disk, writable=False).has_run_mark
        )
    else:
        changed = not run_disk.fingerprint.matches()
    if changed:
        folder, commit = run_disk.directory.path, f"growdisk commit --force {shell_word(path)}"
        hint = f"remove {shell_word(folder)}"
        if state.status is RunStatus.KEPT:
            hint = f"growdisk commit {shell_word(path)}"
        elif run_disk.snapshots == "internal":
            hint += f", then run {commit}"
        raise Refused.named(
            "image-changed",
            "{path} is not as growdisk left it",
            "somebody has written to it since run {run} stopped (or copied it: cp -a keeps the "
            "time by which growdisk knows it); going on would destroy that",
            "to keep the image as it is now: {hint}",
            {"path": path, "folder": folder, "run": plan.run, "hint": hint},
        )


def _image(disk: Disk, *, writable: bool) -> Qcow2Image:
    image = disk.base(writable=writable)
    assert isinstance(image, Qcow2Image), image
    return image

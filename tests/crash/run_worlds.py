"""Small disks on which a whole run is done, and what must be true of each afterwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from growdisk.api.current_run import CurrentRun
from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.api.session import Session
from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, plan_growth
from growdisk.partitions.sectors import read_table
from growdisk.planner.goal import SnapshotMode
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import ExtraDisk, Plan
from growdisk.steps.disk import Disk
from growdisk.steps.registry import ExtraDiskStep
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.table_steps import RewritePartitions
from growdisk.steps.worker_at_rest import WorkerAtRest
from growdisk.units import MiB
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Ready
from tests.crash.whole_disks import assert_same, format_of
from tests.guests.small import SmallDisk, make_disk

OLD_SIZE, NEW_SIZE, OTHER_SIZE = 64 * MiB, 96 * MiB, 8 * MiB


@dataclass(frozen=True)
class Scribble(StepTraits):
    """Writes over old content and into new space as resize2fs would, and as LVM to another disk."""

    name: ClassVar[str] = "grow-filesystem"
    places: ClassVar[tuple[int, ...]] = (2 * MiB + 4096, 20 * MiB, 80 * MiB, NEW_SIZE - 70000)
    elsewhere: ClassVar[tuple[int, ...]] = (4096, 5 * MiB)

    def describe(self) -> str:
        return "scribble"

    def check(self, context: WorkerAtRest) -> Check:
        wanted = [(context.disk, place) for place in self.places]
        wanted += [(disk, place) for disk in context.disk.extra_disks for place in self.elsewhere]
        done = all(disk.read(place, 4) == b"grow" for disk, place in wanted)
        return AlreadyDone("scribbled") if done else Ready()

    def apply(self, context: WorkerAtRest) -> Evidence:
        for place in self.places:
            context.disk.write(place, b"grow" * 17500)
        context.disk.write_zeros(30 * MiB, 300000)
        context.disk.flush()
        for disk in context.disk.extra_disks:
            for place in self.elsewhere:
                disk.write(place, b"grow" * 1000)
            disk.flush()
        return Evidence("scribbled")

    def verify(self, context: WorkerAtRest, evidence: Evidence) -> None:
        assert isinstance(self.check(context), AlreadyDone)


@dataclass(frozen=True)
class World:
    """An image in its own folder, what it must be in the end, perhaps another disk of its guest."""

    folder: Path
    image: Path
    mode: SnapshotMode
    keep: bool
    pristine: Path
    beside: tuple[ExtraDisk, ...] = ()

    @property
    def images(self) -> list[Path]:
        return [self.image, *(Path(extra.path) for extra in self.beside)]

    def pristine_of(self, image: Path) -> Path:
        return self.pristine.with_name(f"pristine-{image.name}")

    def reset(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for image in self.images:
            subprocess.run(["cp", "--sparse=always", self.pristine_of(image), image], check=True)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.image)

    def begin(self) -> None:
        with closing(self._open()) as disk:
            facts = inspect_device(disk, image_facts(disk.active, self.image))
            plan = self._plan(disk)
            assert facts.table is not None
            session = Session.begin(CurrentRun(self.image, plan, self.directory), disk)
            session.engine.advance()
            session.run.directory.make_room()

    def go_on(self) -> None:
        self._reopened(lambda session: session.engine.advance())

    def go_back(self) -> None:
        self._reopened(lambda session: session.engine.roll_back())

    def commit(self) -> None:
        self._reopened(lambda session: session.engine.commit())

    def state(self):
        return self.directory.state()

    def _reopened(self, action) -> None:
        with closing(self._open()) as disk:
            session = Session.reopen(CurrentRun(self.image, self._plan(disk), self.directory), disk)
            action(session)
            session.run.directory.make_room()

    def _open(self) -> Disk:
        first, *others = ((image, format_of(image)) for image in self.images)
        return Disk.open(*first, others)

    def _plan(self, disk: Disk) -> Plan:
        """The same in every process; made from the pristine image."""
        with closing(Disk.open(self.pristine, disk.format)) as pristine:
            table = read_table(pristine, self.image)
            layout = layout_of(
                inspect_device(pristine, image_facts(pristine.active, self.pristine))
            )
        assert table is not None
        growth = plan_growth(table, 1, NEW_SIZE, BlockerPolicy(kinds={5: "swap"}))
        assert isinstance(growth, Grown)
        steps = (
            ResizeImage(OLD_SIZE, NEW_SIZE),
            RewritePartitions(table.with_disk_size(NEW_SIZE), growth.table),
            Scribble(),
            *(
                ExtraDiskStep(ResizeImage(OTHER_SIZE, OTHER_SIZE + 4 * MiB), number)
                for number, _ in enumerate(self.beside, 1)
            ),
        )
        return Plan(
            "20260101-000000-test",
            "guestfs",
            self.mode,
            self.keep,
            layout,
            layout,
            steps,
            (),
            extra_disks=self.beside,
        )


KINDS = {
    "internal": (
        "guest.qcow2",
        SmallDisk(size=OLD_SIZE, swap_size=8 * MiB, boot_code=False),
        "internal",
    ),
    "overlay over raw": (
        "guest.raw",
        SmallDisk(size=OLD_SIZE, swap_size=8 * MiB, boot_code=False, image_format="raw"),
        "overlay",
    ),
    "overlay over v2": (
        "guest.qcow2",
        SmallDisk(size=OLD_SIZE, swap_size=8 * MiB, boot_code=False, qcow2_options="compat=0.10"),
        "overlay",
    ),
}


COMPANIONS: dict[str, tuple[str, SnapshotMode]] = {
    "internal, beside raw": ("other.raw", "overlay"),
    "overlay over raw, beside qcow2": ("other.qcow2", "internal"),
}


def make_world(tmp_path: Path, kind: str, *, keep: bool = False) -> World:
    name, disk, mode = KINDS[kind.partition(",")[0]]
    pristine = make_disk(tmp_path / f"pristine-{name}", disk)
    folder = tmp_path / "run"
    folder.mkdir()
    beside: tuple[ExtraDisk, ...] = ()
    if kind in COMPANIONS:
        other, other_mode = COMPANIONS[kind]
        made = tmp_path / f"pristine-{other}"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", format_of(made), made, str(OTHER_SIZE)], check=True
        )
        beside = (ExtraDisk(str(folder / other), format_of(Path(other)), other_mode),)
    return World(folder, folder / name, mode, keep, pristine, beside)


def grown_copy(world: World, tmp_path: Path) -> Callable[[Path], Path]:
    """The images after an undisturbed run."""
    world.reset()
    world.begin()
    for image in world.images:
        subprocess.run(
            ["cp", "--sparse=always", image, tmp_path / f"grown-{image.name}"], check=True
        )
    return lambda image: tmp_path / f"grown-{image.name}"


def judge(world: World, expected: Callable[[Path], Path]) -> None:
    for image in world.images:
        assert_same(image, expected(image))
        folder = RunDirectory(image).path
        left = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert left <= {
            "plan.json",
            "journal.jsonl",
            "plan.json.new",
            "part-of.json",
            "part-of.json.new",
        }

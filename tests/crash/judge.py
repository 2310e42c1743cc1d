"""What must be true of an image after a crash, judged by our own engine and check."""

from __future__ import annotations

from dataclasses import dataclass

from growdisk.block.device import ExtentKind
from growdisk.qcow2.check.checker import CheckReport, check
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import read_header
from growdisk.qcow2.image import Qcow2Image
from tests.crash.recording import RecordingFile
from tests.crash.states import CrashState
from tests.crash.worlds import MiB, World

_COMPARED = 5 * MiB
_SECTOR = 512


@dataclass(frozen=True)
class Content:
    """A guest-visible state: its size and its first bytes (all bytes after them are zeros)."""

    size: int
    data: bytes


@dataclass(frozen=True)
class Seen:
    """All that a user can see of an image."""

    active: Content
    snapshots: dict[str, Content]


def see(world: World, file: RecordingFile) -> Seen:
    """Open the image for writing, as the next program does, and look at everything.

    Leaves `file` mended.
    """
    image = world.open(file)
    active, names = content_of(image), [info.name for info in image.snapshots()]
    image.close()
    snapshots = {}
    for name in names:
        copy = world.open(RecordingFile(file.content.copy()))
        copy.apply_snapshot(name)
        snapshots[name] = content_of(copy)
        copy.close()
    return Seen(active, snapshots)


def content_of(image: Qcow2Image) -> Content:
    if image.size > _COMPARED:
        behind = image.extents(_COMPARED, image.size - _COMPARED)
        assert {extent.kind for extent in behind} == {ExtentKind.ZERO}
    return Content(image.size, image.read(0, min(image.size, _COMPARED)))


def judge(world: World, state: CrashState, before: Seen, after: Seen, *, closely: bool) -> None:
    """Assert that a crash state is harmless.

    `closely`: look into the snapshots too, and write on afterwards.
    """
    assert_harmless(world, state.open())
    file = state.open()
    image = world.open(file)
    active, names = content_of(image), {info.name for info in image.snapshots()}
    assert names in (before.snapshots.keys(), after.snapshots.keys())
    assert_old_or_new(active, before.active, after.active, whole=world.scenario.whole)
    image.close()
    assert_sound(check(file, world.path), version_2=image.header.version == 2)
    if closely:
        seen = see(world, file)
        for name, content in seen.snapshots.items():
            assert content == {**before.snapshots, **after.snapshots}[name]
        assert_usable(world, file)


def assert_harmless(world: World, file: RecordingFile) -> None:
    """Before any repair: sound, or the dirty bit tells the next writer."""
    header = read_header(file, world.path)
    if not header.has(Incompatible.DIRTY):
        assert_sound(check(file, world.path), version_2=header.version == 2)


def assert_sound(report: CheckReport, *, version_2: bool) -> None:
    """Leaks at worst.

    Version 2 has no dirty bit: there COPIED may be missing too, which costs a copy and no data.
    """
    errors = [line for line in report.problems if not line.startswith("leaked") and line != "..."]
    if version_2:
        errors = [line for line in errors if not line.endswith("COPIED is missing")]
    assert not errors, errors[:5]


def assert_old_or_new(seen: Content, before: Content, after: Content, *, whole: bool) -> None:
    assert seen.size in (before.size, after.size)
    if seen in (before, after):
        return
    assert not whole, "neither the old content nor the new one"
    for offset in range(0, len(seen.data), _SECTOR):
        sector = slice(offset, offset + _SECTOR)
        assert seen.data[sector] in (before.data[sector], after.data[sector]), (
            f"sector at {offset:#x}"
        )


def assert_usable(world: World, file: RecordingFile) -> None:
    """Writing on in the image, snapshot and all, keeps it sound and the other data untouched."""
    image = world.open(file)
    old, patch, where = content_of(image), b"\x5a" * 70_000, 40_960
    image.write(where, patch)
    image.create_snapshot("after the crash")
    image.write(where + 1024, patch)
    expected = old.data[:where] + patch[:1024] + patch + old.data[where + 1024 + len(patch) :]
    assert content_of(image).data == expected
    image.apply_snapshot("after the crash")
    assert content_of(image).data == old.data[:where] + patch + old.data[where + len(patch) :]
    image.close()
    assert_sound(check(file, world.path), version_2=image.header.version == 2)

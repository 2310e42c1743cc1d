"""A host without space for a plan is reported before the first write; else the run passes.

The file system is a real one, with so many bytes free; qemu-img judges.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.crash.full_host import NAME, MiB, fill, free_room, small_file_system
from tests.oracle.qemu import qemu_check, qemu_img
from tests.unit.cli.command import GROWDISK, Answer, environment, fingerprint, growdisk

ROOM = 192 * MiB
KINDS = ("raw", "qcow2", "overlay")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "small", "tmpfs", ROOM) as place:
        yield place


@pytest.fixture
def image(copied: Copier, small: Path, request: pytest.FixtureRequest) -> Path:
    """The disk as raw, as qcow2, or below an overlay; it lies alone on the small file system."""
    kind: str = request.param
    disk = copied("guest.raw" if kind == "raw" else "guest.qcow2", f"small/guest.{kind}")
    if kind != "overlay":
        return disk
    base = disk.rename(disk.with_name("base.qcow2"))
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", disk],
        check=True,
    )
    return disk


def leave(place: Path, room: int) -> None:
    """Take all room but this, in whole blocks."""
    fill(place)
    filler = place / NAME
    os.truncate(filler, max(filler.stat().st_size - room, 0))
    assert abs(free_room(place) - room) < 64 << 10


def told_need(answer: Answer) -> int:
    """Bytes that the refusal says must be free; the text rounds, so a mebibyte more is taken."""
    found = re.search(r"it takes at least ([\d.]+) MiB", answer.err)
    assert found, answer.err
    return int(float(found[1]) * MiB) + MiB // 8


both = pytest.mark.parametrize("image", KINDS, indirect=True)


@both
@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_a_run_that_does_not_fit_is_refused_and_nothing_is_touched(
    image: Path, small: Path, verb: str
) -> None:
    leave(small, 2 * MiB)
    before, names = fingerprint(image), sorted(small.iterdir())

    answer = growdisk(verb, image, "+4G", "--backend", "direct")

    assert answer.code == 3, answer.err
    assert "the host has no room for that" in answer.err
    assert (fingerprint(image), sorted(small.iterdir())) == (before, names)


@both
def test_with_the_room_that_is_named_a_run_is_done_or_undone(
    image: Path, small: Path, tmp_path: Path
) -> None:
    """The estimate is the least: with it a run may still end restored, but never in between."""
    original = image_as_raw(image, tmp_path / "original.raw")
    leave(small, 2 * MiB)
    need = told_need(growdisk("expand", image, "+4G", "--backend", "direct"))
    leave(small, need)

    answer = growdisk("expand", image, "+4G", "--backend", "direct")

    assert answer.code in (0, 4), answer.err
    if answer.code == 4:
        qemu_img("compare", "-F", "raw", image, original)
    elif image.suffix != ".raw":
        qemu_check(image)


@both
def test_somewhat_more_than_the_room_that_is_named_is_enough(image: Path, small: Path) -> None:
    """What growing zeroes takes no room where there are zeros already."""
    leave(small, 2 * MiB)
    need = told_need(growdisk("expand", image, "+4G", "--backend", "direct"))
    leave(small, need + 8 * MiB)

    answer = growdisk("expand", image, "+4G", "--backend", "direct")

    assert answer.code == 0, answer.err


@pytest.mark.parametrize("image", ["raw"], indirect=True)
def test_a_run_that_is_kept_takes_room_for_what_was_there_before(image: Path, small: Path) -> None:
    leave(small, 2 * MiB)
    need = told_need(growdisk("expand", image, "+40G", "--backend", "direct"))
    leave(small, need + MiB)
    before, names = fingerprint(image), sorted(small.iterdir())

    answer = growdisk("expand", image, "+40G", "--backend", "direct", "--keep-snapshots")

    assert (answer.code, told_need(answer) > need) == (3, True)
    assert (fingerprint(image), sorted(small.iterdir())) == (before, names)


@both
def test_a_file_that_may_not_become_so_long_is_refused_beforehand(image: Path) -> None:
    before = fingerprint(image)
    limit = image.stat().st_size

    answer = limited(
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)), "expand", image, "+4G"
    )

    assert answer.code == 3, answer.err
    assert "its file would be too large" in answer.err
    assert fingerprint(image) == before


def limited(limit: Callable[[], None], *words: str | Path) -> Answer:
    command = [GROWDISK, *map(str, words), "--backend", "direct"]
    done = subprocess.run(
        command,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def image_as_raw(image: Path, copy: Path) -> Path:
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, copy], check=True)
    return copy

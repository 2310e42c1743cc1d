"""What a run takes is asked of the file system on which it will be taken."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.api.host_space import RunImage, refuse_run_without_room
from growdisk.block.raw import RawFile
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.host_need import HostWrites
from growdisk.planner.proposal import Proposal
from growdisk.units import MiB


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system alone is known here")
    with tempfile.TemporaryDirectory(prefix="growdisk-test-", dir=memory) as folder:
        yield Path(folder)


def room(*disks: tuple[Path, int]) -> int:
    """What the first is told to have, for raw images that are filled with so many bytes each."""
    images = []
    for path, filled in disks:
        path.write_bytes(bytes(MiB))
        facts = Facts(ImageFacts(path, "raw", MiB, MiB), None, {})
        with closing(RawFile.open(path, lock=False)) as device:
            proposal = Proposal((), facts, host_writes=HostWrites(bytes=filled))
            images.append(RunImage(device, facts, proposal, "none", keep=False))
    return refuse_run_without_room(disks[0][0], images)


def test_what_images_beside_each_other_take_counts_together(tmp_path: Path) -> None:
    assert room((tmp_path / "a.raw", 3 * MiB), (tmp_path / "b.raw", 4 * MiB)) == 7 * MiB


def test_what_an_image_takes_elsewhere_need_not_be_free_beside_the_first(
    tmp_path: Path, elsewhere: Path
) -> None:
    assert room((tmp_path / "a.raw", 3 * MiB), (elsewhere / "b.raw", 4 * MiB)) == 3 * MiB

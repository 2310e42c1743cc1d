"""Check mode over several tasks: each starts from the disk as the task before would leave it."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.planner.facts import Facts
from growdisk.playbook.perform import TaskResult, perform
from growdisk.units import MiB
from tests.guests.tools import run


@pytest.fixture
def without_system(tmp_path: Path) -> Path:
    """ext4 and swap in a row, and no system: swap moves, as nobody can see who waits for it."""
    disk, root, swap = (tmp_path / name for name in ("disk.raw", "root", "swap"))
    for file, size in ((disk, "100M"), (root, "60M"), (swap, "8M")):
        run("truncate", "-s", size, file)
    run("sfdisk", "-q", "--no-reread", disk, stdin="label: gpt\nstart=2048, size=60MiB\n,,S\n")
    run("mke2fs", "-q", "-t", "ext4", root)
    run("mkswap", "-q", swap)
    for file, at in ((root, 1), (swap, 61)):
        run("dd", f"if={file}", f"of={disk}", "bs=1M", f"seek={at}", "conv=notrunc", "status=none")
    # Else the file's own size on the host may still change between two looks at it.
    run("sync", disk)
    return disk


def checked(task: str, foreseen: dict[Path, Facts] | None, **options: object) -> TaskResult:
    return perform(task, options, check=True, foreseen=foreseen)


def test_swap_that_cannot_be_given_up_is_moved_in_the_check_too(without_system: Path) -> None:
    image = str(without_system)
    alone = checked("expand", None, image=image, size="+64M", backend="direct")
    assert alone.changed and "swap is moved" in str(alone.result["notes"])
    foreseen: dict[Path, Facts] = {}
    among = checked("expand", foreseen, image=image, size="+64M", backend="direct")
    assert among.message == alone.message and among.result["steps"] == alone.result["steps"]
    assert among.result["before"] == alone.result["before"]
    # The next task sees what this one would have made: 64 MiB more, once.
    (after,) = foreseen.values()
    assert after.image.virtual_size == 164 * MiB


def test_a_task_that_is_refused_leaves_the_foreseen_disk_as_it_was(without_system: Path) -> None:
    foreseen: dict[Path, Facts] = {}
    overlay = without_system.with_name("overlay.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", without_system, "-F", "raw", overlay)
    refused = checked("resize_image", foreseen, image=str(without_system), size="+64M")
    assert refused.failed and "overlay.qcow2" in refused.message
    assert foreseen == {}

"""--keep-snapshots: a finished run goes back to any step, forward, or is accepted.

Also what a guest wrote since.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged, sfdisk, virtual_size
from tests.e2e.process import Answer, Host, wait_for
from tests.guests.manifest import as_raw
from tests.guests.small import SmallDisk
from tests.guests.tools import run

pytestmark = pytest.mark.appliance

_OLD, _NEW = 128 * MiB, 128 * MiB + (1 << 30)


def make_guest(small_disk: DiskMaker, name: str) -> tuple[Path, Before]:
    kind = name.partition(".")[2]
    image = small_disk(name, SmallDisk(size=_OLD, swap_size=16 * MiB, image_format=kind))
    return image, Before.of(image, kind)


def layers(image: Path, before: Before) -> tuple[int, int, bool, bool]:
    """(virtual size, number of partitions, file system grown, fstab names the swap)."""
    with as_raw(image, before.image_format) as raw:
        where = f"{raw}?offset={MiB}"
        blocks = re.findall(r"Block count:\s+(\d+)", run("dumpe2fs", "-h", where))[0]
        fstab = run("debugfs", "-R", "cat /etc/fstab", where)
        return (
            virtual_size(image),
            len(sfdisk(raw)),
            int(blocks) * 1024 > _OLD,
            re.search(r"^[^#].* swap ", fstab, re.MULTILINE) is not None,
        )


def assert_kept(host: Host, image: Path) -> None:
    document = host.growdisk("status", image).document
    assert (document["state"], document["next"]) == ("kept", ["rollback", "commit"])


def assert_went(answer: Answer, result: str) -> None:
    assert (answer.code, answer.result) == (0, result), answer


def write_as_a_guest(image: Path, kind: str) -> None:
    run("qemu-io", "-f", kind, "-c", f"write -P 9 {100 * MiB} 64k", image)


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_a_kept_run_goes_back_to_each_step_and_on_again(
    small_disk: DiskMaker, host: Host, name: str
) -> None:
    image, before = make_guest(small_disk, name)
    assert_went(host.growdisk("expand", image, "+1G", "--keep-snapshots"), "changed")
    assert_kept(host, image)
    assert layers(image, before) == (_NEW, 1, True, False)

    # internal snapshots are whole whatever a guest has written since; that is given up
    if name == "guest.qcow2":
        write_as_a_guest(image, "qcow2")
        assert_kept(host, image)
    assert_went(host.growdisk("rollback", image, "--to", "repair-guest"), "restored")
    assert layers(image, before) == (_NEW, 1, True, True)
    assert_went(host.growdisk("rollback", image, "--to", "grow-filesystem"), "restored")
    assert layers(image, before) == (_NEW, 1, False, True)
    assert_went(host.growdisk("resume", image), "changed")
    assert_kept(host, image)
    assert layers(image, before) == (_NEW, 1, True, False)

    assert_went(host.growdisk("rollback", image, "--to", "rewrite-partitions"), "restored")
    assert layers(image, before) == (_NEW, 3, False, True)
    assert_went(host.growdisk("rollback", image), "restored")
    assert_unchanged(image, before)


def test_undo_files_no_longer_fit_once_a_guest_has_written_but_the_run_can_be_accepted(
    small_disk: DiskMaker, host: Host
) -> None:
    image, before = make_guest(small_disk, "guest.raw")
    assert_went(host.growdisk("expand", image, "+1G", "--keep-snapshots"), "changed")
    write_as_a_guest(image, "raw")
    copy = image.with_name("copy.raw")
    run("cp", "--sparse=always", image, copy)
    for words in (["rollback", image], ["rollback", image, "--to", "repair-guest"]):
        answer = host.growdisk(*words)
        assert answer.code == 3
        assert "somebody has written to it" in str(answer.error["why"])
    assert_went(host.growdisk("commit", image), "changed")
    run("cmp", image, copy)
    assert_grown(image, before)


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_an_unfinished_run_is_not_gone_on_with_after_somebody_else_wrote(
    small_disk: DiskMaker, host: Host, name: str
) -> None:
    image, before = make_guest(small_disk, name)
    command = host.start("expand", image, "+1G")
    wait_for(command, image, "applying", "reread-partitions")
    command.kill()
    host.assert_quiet()
    write_as_a_guest(image, before.image_format)
    copy = image.with_name(f"copy-{name}")
    run("cp", "--sparse=always", image, copy)
    answer = host.growdisk("resume", image)
    assert answer.code == 3
    assert "somebody has written to it" in str(answer.error["why"])
    run("cmp", image, copy)

"""Several hosts at once: one fails and is restored, one is refused, the others grow."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from growdisk.units import GiB, MiB
from tests.ansible.playing import Ansible, Document
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged, virtual_size
from tests.guests.small import SmallDisk
from tests.guests.tools import run

SMALL = SmallDisk(size=128 * MiB, swap_size=16 * MiB)
RAW = SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw")
EXPAND: Document = {
    "growdisk.disk.expand": {"image": "{{ image }}", "size": "1G", "backend": "direct"},
    "register": "grown",
}  # fmt: skip
SOUND: Document = {
    "growdisk.disk.assert": {"image": "{{ image }}", "filled": True, "sound": True, "size": "1G"}
}


def damage(raw: Path) -> None:
    """A directory's inode is gone, which e2fsck does not mend by itself."""
    run("debugfs", "-w", "-R", "clri /srv/odd", f"{raw}?offset={MiB}")


def test_one_host_fails_and_is_restored_while_the_others_grow(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    good = [small_disk(f"web{number}.qcow2", SMALL) for number in range(1, 4)]
    good.append(small_disk("web4.raw", RAW))
    ill = small_disk("ill.raw", RAW)
    damage(ill)
    before = {image: Before.of(image, image.suffix[1:]) for image in [*good, ill]}
    inventory = ansible.inventory(*good, ill, ill.with_name("gone.qcow2"))

    played = ansible.tasks(inventory, EXPAND, SOUND, words=("--forks", "6"))
    assert played.code == 2, played.said
    for image in good:
        assert [task.state for task in played.tasks if task.host == image.stem] == ["changed", "ok"]
        assert_grown(image, before[image])
    (failed,) = played.of("expand", "ill")
    error = cast("Document", failed.result["error"])
    assert (failed.state, error["code"], failed.result["result"]) == ("failed", 4, "restored")
    assert "everything is back as it was" in str(failed.result["msg"]) and "e2fsck" in str(
        error["do"]
    )
    assert_unchanged(ill, before[ill])
    (refused,) = played.of("expand", "gone")
    assert cast("Document", refused.result["error"])["code"] == 3
    assert played.of("assert", "ill") == played.of("assert", "gone") == []

    # What was wrong is mended, and the same command again brings all to the same end.
    run("sh", "-c", f"e2fsck -fy '{ill}?offset={MiB}' >/dev/null; test $? -le 1")
    again = ansible.tasks(ansible.inventory(*good, ill), EXPAND, SOUND, words=("--forks", "6"))
    assert again.code == 0, again.said
    assert [task.host for task in again.tasks if task.state == "changed"] == ["ill"], again.said
    assert {virtual_size(image) for image in [*good, ill]} == {GiB}


def test_a_block_with_rescue_takes_a_host_back_that_is_not_as_it_should_be(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    """Ansible's rescue over a kept run: what only the playbook finds wrong is taken back too."""
    wanted, other = small_disk("wanted.qcow2", SMALL), small_disk("other.qcow2", SMALL)
    before = Before.of(other)
    grow: Document = {
        "growdisk.disk.expand": {
            "image": "{{ image }}",
            "size": "1G",
            "backend": "direct",
            "keep_snapshots": True,
        }
    }
    judge: Document = {"ansible.builtin.assert": {"that": ["inventory_hostname == 'wanted'"]}}
    block: Document = {
        "block": [grow, judge, {"growdisk.disk.commit": {"image": "{{ image }}"}}],
        "rescue": [{"growdisk.disk.rollback": {"image": "{{ image }}"}}],
    }
    played = ansible.tasks(ansible.inventory(wanted, other), block)
    assert played.code == 0, played.said
    assert [task.host for task in played.of("rollback")] == ["other"]
    assert [task.host for task in played.of("commit")] == ["wanted"]
    assert_unchanged(other, before)
    assert virtual_size(wanted) == GiB

"""Tasks repeated change nothing, and senseless options are refused before any change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from growdisk.api import status
from growdisk.playbook.perform import TaskResult, perform
from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_unchanged
from tests.guests.small import SWAP_UUID, SmallDisk
from tests.guests.tools import run
from tests.unit.cli.command import in_process

SMALL = SmallDisk(size=128 * MiB, swap_size=16 * MiB)


def did(outcome: TaskResult) -> str:
    assert not outcome.failed, outcome.message
    return "changed" if outcome.changed else "ok"


def grow(image: Path, *, check: bool = False, **options: object) -> TaskResult:
    return perform("expand", {"image": str(image), "backend": "direct", **options}, check=check)


def test_growing_to_a_size_again_is_no_matter_of_a_kept_run(small_disk: DiskMaker) -> None:
    image = small_disk(disk=SMALL)
    assert did(grow(image, size="1G", keep_snapshots=True)) == "changed"
    assert did(grow(image, size="1G", keep_snapshots=True)) == "ok"
    assert did(grow(image, size="1G", check=True)) == "ok"
    refused = grow(image, size="2G")
    assert (
        refused.error is not None
        and refused.error.exit_code == 3
        and "snapshots of its last run" in refused.message
    )


def test_going_back_to_a_step_again_changes_nothing(small_disk: DiskMaker) -> None:
    image = small_disk(disk=SMALL)
    before = Before.of(image)
    grow(image, size="1G", keep_snapshots=True)
    to: dict[str, object] = {"image": str(image), "to": "grow-filesystem"}
    assert did(perform("rollback", to, check=True)) == "changed"
    assert did(perform("rollback", to)) == "changed"
    assert did(perform("rollback", to)) == did(perform("rollback", to, check=True)) == "ok"
    assert did(perform("rollback", {"image": str(image)})) == "changed"
    assert did(perform("rollback", {"image": str(image)})) == "ok"
    assert_unchanged(image, before)


@pytest.mark.parametrize("check", [False, True])
def test_going_back_to_a_step_that_there_is_not_is_refused(
    small_disk: DiskMaker, check: bool
) -> None:
    image = small_disk(disk=SMALL)
    grow(image, size="1G", keep_snapshots=True)
    outcome = perform("rollback", {"image": str(image), "to": "grow-filesytem"}, check=check)
    assert outcome.failed and "its steps are: resize-image" in outcome.message


@pytest.mark.parametrize("check", [False, True])
def test_a_run_that_was_taken_back_in_part_is_not_accepted(
    small_disk: DiskMaker, check: bool
) -> None:
    image = small_disk(disk=SMALL)
    grow(image, size="1G", keep_snapshots=True)
    perform("rollback", {"image": str(image), "to": "grow-filesystem"})
    outcome = perform("commit", {"image": str(image)}, check=check)
    assert outcome.error is not None and outcome.error.exit_code == 3
    assert "step grow-filesystem is not done" in outcome.error.why
    assert status(image).state == "unfinished"


@pytest.mark.parametrize("task", ["rollback", "commit"])
def test_an_image_that_is_not_there_has_hardly_been_meant(tmp_path: Path, task: str) -> None:
    outcome = perform(task, {"image": str(tmp_path / "gost.qcow2")})
    assert outcome.failed and "no such file" in outcome.message


def test_an_image_is_not_converted_onto_itself(small_disk: DiskMaker) -> None:
    image = small_disk(disk=SMALL)
    outcome = perform("convert", {"image": str(image), "dest": str(image)})
    assert outcome.error is not None and outcome.error.exit_code == 2


@pytest.mark.parametrize("to", ["qcow2", "raw"])
@pytest.mark.parametrize("snapshot", ["before", "1"])
def test_a_snapshot_from_before_growth_is_converted_once(
    small_disk: DiskMaker, to: str, snapshot: str
) -> None:
    image = small_disk(disk=SMALL)
    dest = image.with_name(f"old.{to}")
    perform("snapshot", {"image": str(image), "name": "before"})
    assert did(perform("image", {"image": str(image), "size": "160M"})) == "changed"
    options: dict[str, object] = {"image": str(image), "dest": str(dest), "snapshot": snapshot}
    planned = perform("convert", options, check=True)
    assert (did(planned), planned.result["virtual-size"]) == ("changed", 128 * MiB)
    assert did(perform("convert", options)) == "changed"
    assert did(perform("convert", options)) == did(perform("convert", options, check=True)) == "ok"
    # The image as it is now is not what stands there.
    now = perform("convert", {"image": str(image), "dest": str(dest)})
    assert now.failed and "exists already" in now.message


@pytest.mark.parametrize("option", ["size", "at_least", "filesystem_at_least"])
def test_what_a_disk_has_is_not_a_size_to_grow_by(small_disk: DiskMaker, option: str) -> None:
    outcome = perform("assert", {"image": str(small_disk(disk=SMALL)), option: "+1G"})
    assert (
        outcome.error is not None
        and outcome.error.exit_code == 2
        and f"{option}: 1G" in outcome.message
    )


def test_off_is_a_word_where_it_is_a_choice_though_yaml_takes_it_for_false(
    small_disk: DiskMaker,
) -> None:
    image = small_disk(disk=SMALL)
    assert did(grow(image, size="1G", preallocation=False, check=True)) == "changed"
    assert grow(image, size="1G", preallocation=True, check=True).failed
    assert grow(image, size="1G", swap=False, check=True).failed


def test_a_path_may_begin_with_a_variable_of_the_environment(
    small_disk: DiskMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = small_disk(disk=SMALL)
    monkeypatch.setenv("IMAGES", str(image.parent))
    assert did(perform("show", {"image": f"$IMAGES/{image.name}"})) == "ok"


FALSE_PROMISES: list[tuple[str, dict[str, object]]] = [
    ("snapshot", {"name": "x"}),
    ("snapshot", {"name": "x", "state": "applied"}),
    ("convert", {"dest": "/nowhere/copy.qcow2"}),
    ("convert", {"dest": "copy.qcow2", "snapshot": "x"}),
    ("convert", {"dest": "copy.qcow2", "options": {"cluster_sise": "4k"}}),
    ("image", {"image": "new.qcow2", "size": "1G", "options": {"cluster_sise": "4k"}}),
    ("image", {"image": "/nowhere/new.qcow2", "size": "1G"}),
    ("image", {"image": "new.raw", "size": "1G", "options": {"cluster_size": "4k"}}),
    ("image", {"image": "new.raw", "size": "1G", "backing_format": "raw"}),
    ("image", {"image": "new.qcow2", "size": "1G", "backing_format": "raw"}),
    ("convert", {"dest": "copy.raw", "options": {"cluster_size": "4k"}}),
]


@pytest.mark.parametrize(("task", "options"), FALSE_PROMISES)
def test_check_mode_refuses_what_would_fail(
    small_disk: DiskMaker, monkeypatch: pytest.MonkeyPatch, task: str, options: dict[str, object]
) -> None:
    image = small_disk(
        "guest.raw", SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw")
    )
    monkeypatch.chdir(image.parent)
    planned, done = (
        perform(task, {"image": str(image), **options}, check=check) for check in (True, False)
    )
    assert planned.failed and planned.message == done.message
    assert [path.name for path in image.parent.iterdir()] == ["guest.raw"]


def test_scripts_are_foreseen_only_where_there_is_something_to_do(small_disk: DiskMaker) -> None:
    image = small_disk(disk=SMALL)
    options: dict[str, object] = {"image": str(image), "dest": str(image.with_name("scripts"))}
    assert did(perform("script", {**options, "size": "1G"}, check=True)) == "changed"
    assert not image.with_name("scripts").exists()
    grow(image, size="1G")
    assert did(perform("script", options, check=True)) == did(perform("script", options)) == "ok"


_OVERLAID: tuple[tuple[str, dict[str, object]], ...] = (
    ("expand", {"size": "1G", "backend": "direct"}),
    ("resize_image", {"size": "1G"}),
    ("image", {"size": "1G"}),
    ("image", {"state": "compacted"}),
    ("snapshot", {"name": "s", "state": "present"}),
)


@pytest.mark.parametrize(("task", "options"), _OVERLAID, ids=str)
def test_an_image_on_which_others_lie_is_written_only_by_consent(
    small_disk: DiskMaker, task: str, options: dict[str, object]
) -> None:
    image = small_disk(disk=SMALL)
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2",
        image.with_name("overlay.qcow2"),
    )  # fmt: skip
    before = Before.of(image)
    refused = perform(task, {"image": str(image), **options})
    assert (
        refused.error is not None
        and refused.error.exit_code == 3
        and "overlay.qcow2" in refused.message
    )
    assert_unchanged(image, before)
    assert not perform(task, {"image": str(image), "overlays_may_break": True, **options}).failed


def test_swap_that_is_to_be_dropped_is_dropped_by_the_playbook_of_the_plan_too(
    small_disk: DiskMaker,
) -> None:
    """Left out, another default would hold: swap is moved if nobody can change the guest."""
    image = small_disk(disk=SMALL)
    answer = in_process("plan", image, "+64M", "--swap", "drop", "--as-playbook")
    (play,) = yaml.safe_load(answer.out)
    (rewrite,) = (task for task in play["tasks"] if "growdisk.disk.rewrite_partitions" in task)
    assert rewrite["growdisk.disk.rewrite_partitions"]["swap"] == "drop"


def test_the_playbook_of_a_plan_has_the_words_that_were_given(small_disk: DiskMaker) -> None:
    """What was agreed to for the plan, its tasks ask for again."""
    image = small_disk(disk=SMALL)
    words = ("--overlays-may-break", "--not-in-use", "--no-guest-repair", "--backend", "direct")
    answer = in_process("plan", image, "+64M", *words, "--as-playbook")
    (play,) = yaml.safe_load(answer.out)
    for task in play["tasks"]:
        (options,) = (value for name, value in task.items() if name != "name")
        assert options["overlays_may_break"] is True and options["not_in_use"] is True
    rewrite = play["tasks"][1]["growdisk.disk.rewrite_partitions"]
    assert (rewrite["guest_repair"], rewrite["backend"]) == (False, "direct")


def test_the_playbook_of_a_plan_keeps_the_rule_that_asks_for_nothing_now(
    small_disk: DiskMaker,
) -> None:
    """Without it the playbook would grow the disk, however empty it is."""
    image = small_disk(disk=SMALL)
    words = ("--when-used", "99%", "--swap", "move")
    answer = in_process("plan", image, "+64M", *words, "--as-playbook")
    (play,) = yaml.safe_load(answer.out)
    (task,) = play["tasks"]
    given = {"image": "{{ image }}", "size": "+64M", "when_used": "99%", "swap": "move"}
    assert task["growdisk.disk.expand"] == given


def test_a_guest_that_has_forgotten_what_is_gone_is_not_changed(small_disk: DiskMaker) -> None:
    swaps = [{"number": 5, "uuid": SWAP_UUID}]
    image = str(small_disk(disk=SMALL))
    options = {"image": image, "system": "/dev/sda1", "backend": "direct", "swaps": swaps}
    first, again = perform("repair_guest", options), perform("repair_guest", options)
    assert (did(first), did(again)) == ("changed", "ok")
    assert "no file of the guest names what is gone" in again.message

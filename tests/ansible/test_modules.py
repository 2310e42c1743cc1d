"""Each module under ansible-playbook: changes, second runs, check mode, diff, errors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import cast

from growdisk.block.locks import image_writers
from growdisk.units import MiB
from tests.ansible.playing import Ansible, Document, TaskResult
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged, virtual_size
from tests.e2e.process import await_true
from tests.guests.small import SmallDisk
from tests.guests.tools import run

SMALL = SmallDisk(size=128 * MiB, swap_size=16 * MiB)


def task(task_name: str, /, **options: object) -> Document:
    """Its result is registered as did_TASK."""
    return {
        f"growdisk.disk.{task_name}": {"image": "{{ image }}", **options},
        "register": f"did_{task_name}",
    }


EXPAND = task("expand", size="1G", backend="direct")


def states(tasks: list[TaskResult] | tuple[TaskResult, ...]) -> list[str]:
    return [f"{each.action.rpartition('.')[2]} {each.state}" for each in tasks]


def test_expand_grows_all_layers_once_and_check_mode_with_diff_shows_it_before(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    before, bytes_before, inventory = Before.of(image), image.read_bytes(), ansible.inventory(image)

    planned = ansible.tasks(inventory, EXPAND, words=("--check", "--diff"))
    assert (planned.code, states(planned.tasks)) == (0, ["expand changed"])
    assert image.read_bytes() == bytes_before
    assert not image.with_name(image.name + ".growdisk").exists()
    assert "-sda5 (logical): 16.0 MiB" in planned.said and "+image: qcow2, 1.0 GiB" in planned.said
    assert "would be given up: sda5" in str(planned.only("expand").result["warnings"])

    grown = ansible.tasks(inventory, EXPAND, words=("--diff",))
    assert (grown.code, states(grown.tasks)) == (0, ["expand changed"])
    assert_grown(image, before)
    assert grown.only("expand").result["diff"] == planned.only("expand").result["diff"]
    steps = cast("list[Document]", grown.only("expand").result["steps"])
    assert {step["state"] for step in steps} == {"done"}

    again = ansible.tasks(inventory, EXPAND, words=("--diff",))
    assert (again.code, states(again.tasks)) == (0, ["expand ok"])
    assert "diff" not in again.only("expand").result
    assert again.only("expand").result["result"] == "nochange"


def test_the_steps_one_by_one_do_what_expand_does(ansible: Ansible, small_disk: DiskMaker) -> None:
    image = small_disk(disk=SMALL)
    before = Before.of(image)
    tasks = [
        task("snapshot", name="by-hand"),
        task("resize_image", size="1G"),
        task("rewrite_partitions", partition=1, backend="direct"),
        task("reread_partitions", backend="direct"),
        task("grow_filesystem", partition=1, backend="direct"),
        task(
            "repair_guest", system="/dev/sda1", backend="direct",
            swaps="{{ did_rewrite_partitions.gone_swaps }}",
        ),
        task("snapshot", name="by-hand", state="absent"),
        task("assert", filled=True, sound=True, size="1G", present=[1], absent="2,5"),
    ]  # fmt: skip
    played = ansible.tasks(ansible.inventory(image), *tasks)
    assert played.code == 0, played.said
    assert states(played.tasks) == [
        "snapshot changed", "resize_image changed", "rewrite_partitions changed",
        "reread_partitions ok", "grow_filesystem changed", "repair_guest changed",
        "snapshot changed", "assert ok",
    ]  # fmt: skip
    assert_grown(image, before)


def test_facts_are_there_for_the_tasks_behind_and_are_what_show_says(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    debug = {
        "ansible.builtin.debug": {
            "msg": "{{ growdisk_disk == shown and growdisk_disk.partitions[0].size }}"
        }
    }
    shown = {
        "ansible.builtin.set_fact": {
            "shown": "{{ did_show | dict2items | selectattr('key', 'in', keys) | items2dict }}"
        }
    }
    keys = {
        "ansible.builtin.set_fact": {
            "keys": ["image", "table", "partitions", "volumes", "free", "blockers"]
        }
    }
    played = ansible.tasks(
        ansible.inventory(image), task("facts"), task("show"), keys, shown, debug
    )
    assert played.code == 0, played.said
    root = json.loads(run("sfdisk", "--json", _raw(image)))["partitiontable"]["partitions"][0]
    # A number since ansible-core 2.19, a text before.
    assert str(played.tasks[-1].result["msg"]) == str(root["size"] * 512)
    assert played.changed == [False] * 5


def test_a_kept_run_is_taken_back_whole_and_then_there_is_nothing_to_take_back(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    before = Before.of(image)
    keep = task("expand", size="1G", backend="direct", keep_snapshots=True)
    played = ansible.tasks(
        ansible.inventory(image), keep, task("rollback"), task("rollback"), task("commit")
    )
    assert states(played.tasks) == [
        "expand changed",
        "rollback changed",
        "rollback ok",
        "commit ok",
    ], played.said
    assert_unchanged(image, before)


def test_images_are_made_converted_and_kept_as_they_should_be(
    ansible: Ansible, tmp_path: Path
) -> None:
    made, raw = tmp_path / "made.qcow2", tmp_path / "copy.raw"
    tasks = [
        task("image", size="64M", options={"cluster_size": "4k", "lazy_refcounts": True}),
        task("image", size="64M"), task("image", size="96M"), task("image", state="sound"),
        task("convert", dest=str(raw)), task("convert", dest=str(raw)),
    ]  # fmt: skip
    played = ansible.tasks(ansible.inventory(made), *tasks)
    assert played.changed == [True, False, True, False, True, False], played.said
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", made, raw)
    said = json.loads(run("qemu-img", "info", "--output=json", made))
    assert (said["virtual-size"], said["cluster-size"]) == (96 * MiB, 4096)
    assert said["format-specific"]["data"]["lazy-refcounts"] is True


def test_scripts_are_written_once(ansible: Ansible, small_disk: DiskMaker, tmp_path: Path) -> None:
    image = small_disk(disk=SMALL)
    write = task("script", size="+1G", dest=str(tmp_path / "scripts"))
    played = ansible.tasks(ansible.inventory(image), write, write)
    assert played.changed == [True, False], played.said
    assert "README.md" in cast("list[str]", played.tasks[0].result["files"])
    assert (tmp_path / "scripts/README.md").is_file()


# --- errors -------------------------------------------------------------------------------------


BAD: dict[str, tuple[Document, int]] = {
    "write 10G or 10GiB": (task("expand", size="10GB"), 2),
    "never shrinks a disk": (task("expand", size="64M"), 3),
    "no partition 7": (task("expand", partition=7), 3),
    "sector_size: 512 or 4096": (task("expand", sector_size=1000), 2),
    "partition 9": (task("rewrite_partitions", partition=9), 3),
    "no snapshot 'none'": (task("snapshot", name="none", state="applied"), 3),
    "there is a sda1": (task("assert", absent=[1]), 3),
    "cannot open": (task("expand", image="/nowhere/guest.qcow2"), 3),
}


def test_an_error_says_what_why_and_what_to_do_in_one_piece_and_in_fields(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    before = image.read_bytes()
    tasks = [{**each, "ignore_errors": True} for each, _ in BAD.values()]
    played = ansible.tasks(ansible.inventory(image), *tasks)
    assert {each.state for each in played.tasks} == {"ignored"}
    for (told, (_, code)), each in zip(BAD.items(), played.tasks, strict=True):
        error, message = cast("Document", each.result["error"]), str(each.result["msg"])
        assert (error["code"], each.result["changed"]) == (code, False), each
        assert error["what"] and error["do"]
        assert all(
            str(part) in message for part in (error["what"], error["why"], error["do"], told)
        ), each
    assert "Traceback" not in played.said
    assert image.read_bytes() == before


def test_ansible_itself_refuses_options_that_no_task_has(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    played = ansible.tasks(ansible.inventory(image), task("expand", sise="1G"))
    assert "Unsupported parameters" in str(played.only("expand").result["msg"])


def test_an_image_in_use_is_refused_in_check_mode_too(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    words = [
        "qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-S",
        "-drive", f"file={image}",
    ]  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as guest:
        try:
            _await_lock(image)
            for mode in ((), ("--check",)):
                played = ansible.tasks(ansible.inventory(image), EXPAND, words=mode)
                assert "in use" in str(played.only("expand").result["msg"]), played.said
        finally:
            guest.kill()
    assert virtual_size(image) == 128 * MiB


def test_an_interpreter_without_growdisk_is_told_what_to_do(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk(disk=SMALL)
    inventory = ansible.inventory(image, ansible_python_interpreter="/usr/bin/python3")
    ansible.environment.pop("PYTHONPATH", None)
    played = ansible.tasks(inventory, EXPAND)
    message = str(played.only("expand").result["msg"])
    assert "/usr/bin/python3" in message and "ansible_python_interpreter" in message
    assert "Traceback" not in played.said


def _raw(image: Path) -> Path:
    raw = image.with_suffix(".judge")
    run("qemu-img", "convert", "-O", "raw", image, raw)
    return raw


def _await_lock(image: Path) -> None:
    """Wait for QEMU's lock by the kernel's list: trying the lock could keep QEMU out."""
    await_true(lambda: bool(image_writers(image)), 60, "QEMU has opened the image")

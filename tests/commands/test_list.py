"""growdisk list as its user sees it: a line a disk, whatever the disks are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from growdisk.api.fleet.listing import Wanted, list_disks
from growdisk.units import MiB
from growdisk.workflow.stopping import SignalsStop, StopRequest
from tests.conftest import DiskMaker
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk
from tests.guests.tools import run
from tests.unit.cli.command import GROWDISK, environment, in_process


@pytest.fixture
def folder(small_disk: DiskMaker, tmp_path: Path) -> Path:
    small_disk("one.qcow2")
    small_disk("two.raw", SmallDisk(layout=Layout.GPT_CLOUD, image_format="raw"))
    return tmp_path


def listed(*words: str | Path) -> list[dict[str, object]]:
    answer = in_process("list", *words, "--json")
    assert answer.code == 0, answer.err
    return list(answer.json()["disks"])


def test_a_folder_is_its_images_and_nothing_else(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "no-suffix").write_bytes((folder / "one.qcow2").read_bytes())
    assert [Path(str(disk["path"])).name for disk in listed(folder)] == [
        "no-suffix",
        "one.qcow2",
        "two.raw",
    ]


def test_a_disk_is_what_show_says_of_it(folder: Path) -> None:
    (disk,) = listed(folder / "one.qcow2")
    shown = in_process("show", folder / "one.qcow2", "--json").json()
    content = next(p["content"] for p in shown["partitions"] if p["name"] == "sda1")
    assert disk["fullest"] == disk["root"]
    assert disk["fullest"] | {"reserved": 0, "overhead": 0} == {  # type: ignore[operator]
        "name": "sda1",
        "kind": "ext4",
        "size": content["size"],
        "used": content["used"],
        "source": "superblock",
        "reserved": 0,
        "overhead": 0,
    }
    assert (disk["virtual_size"], disk["format"], disk["table"]) == (256 * MiB, "qcow2", "mbr")
    assert [hinder["name"] for hinder in disk["hinders"]] == ["sda5"]  # type: ignore[attr-defined]


def test_an_unreadable_image_is_a_line_and_not_the_end(folder: Path) -> None:
    (folder / "a.qcow2").write_text("not an image at all")
    (folder / "b.qcow2").write_bytes(b"QFI\xfb" + os.urandom(4096))
    answer = in_process("list", folder, folder / "gone.raw")
    assert answer.code == 0
    assert answer.out.count("unreadable") == 3
    assert "one.qcow2" in answer.out and "two.raw" in answer.out
    errors = [disk["error"]["id"] for disk in listed(folder) if "error" in disk]  # type: ignore[index]
    assert len(errors) == 2


def test_a_pattern_is_for_no_folder(folder: Path) -> None:
    (folder / "lost+found").mkdir()
    (folder / "one.qcow2.growdisk").mkdir()
    assert [Path(str(disk["path"])).name for disk in listed(f"{folder}/*")] == [
        "one.qcow2",
        "two.raw",
    ]
    (folder / "inner").mkdir()
    (folder / "inner/none").mkdir()
    assert in_process("list", f"{folder}/inner/*").code == 2


def test_a_folder_that_cannot_be_read_is_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "closed").mkdir(mode=0)
    monkeypatch.chdir(folder)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        answer = in_process("list", "closed", "--json")
    finally:
        os.seteuid(user)
    assert (answer.code, answer.json()["disks"][0]["error"]["why"]) == (3, "Permission denied")


def test_a_name_without_a_letter_is_no_disk() -> None:
    answer = in_process("list", "", "--json")
    assert answer.code == 3
    assert "neither a regular file" in answer.json()["disks"][0]["error"]["why"]


def test_where_nothing_can_be_read_the_exit_code_says_so(tmp_path: Path) -> None:
    answer = in_process("list", tmp_path / "gone.raw")
    assert answer.code == 3
    # Columns that would be empty leave the reason its room.
    assert answer.out.splitlines()[1:] == ["gone.raw  unreadable  No such file or directory"]


def test_sorted_and_filtered_by_fullness(folder: Path, small_disk: DiskMaker) -> None:
    small_disk("tight.qcow2", SmallDisk(size=96 * MiB, swap_size=MiB))
    by_fullness = [disk["fullness"] for disk in listed(folder, "--sort", "fullness")]
    assert by_fullness == sorted(by_fullness, reverse=True)  # type: ignore[type-var]
    threshold = f"{float(by_fullness[1]) + 0.1}%"  # type: ignore[arg-type]
    assert [Path(str(disk["path"])).name for disk in listed(folder, "--above", threshold)] == [
        "tight.qcow2"
    ]


def test_room_that_lies_idle_in_any_layer(folder: Path) -> None:
    run("qemu-img", "resize", "-q", folder / "one.qcow2", "512M")
    (disk,) = listed(folder / "one.qcow2")
    assert 256 * MiB <= int(str(disk["idle"])) < 260 * MiB


def test_a_file_system_smaller_than_its_partition_leaves_room_idle(small_disk: DiskMaker) -> None:
    image = small_disk("lag.qcow2", SmallDisk(filesystem_size=128 * MiB))
    part = next(
        p for p in in_process("show", image, "--json").json()["partitions"] if p["name"] == "sda1"
    )
    (disk,) = listed(image)
    assert int(str(disk["idle"])) >= part["size"] - 128 * MiB > 0


def test_overlays_and_snapshots_and_a_kept_run_are_told(folder: Path) -> None:
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", "two.raw", "-F", "raw", "over.qcow2",
        cwd=folder,
    )  # fmt: skip
    run("qemu-img", "snapshot", "-c", "before", folder / "one.qcow2")
    disks = {Path(str(disk["path"])).name: disk for disk in listed(folder)}
    assert [Path(str(path)).name for path in disks["two.raw"]["overlays"]] == ["over.qcow2"]  # type: ignore[attr-defined]
    assert disks["over.qcow2"]["backing"] == ["two.raw"]
    assert disks["over.qcow2"]["fullest"] == disks["two.raw"]["fullest"]
    assert disks["one.qcow2"]["snapshots"] == ["before"]
    assert in_process("expand", folder / "one.qcow2", "+64M", "--keep-snapshots", "-q").code == 0
    assert listed(folder / "one.qcow2")[0]["run"] == "kept"


def test_an_image_that_a_qemu_has_open_is_listed_as_in_use(folder: Path) -> None:
    words = ["qemu-io", "-f", "qcow2", folder / "one.qcow2"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        try:
            holder.stdin.write("read 0 512\n")
            holder.stdin.flush()
            holder.stdout.readline()
            (disk,) = listed(folder / "one.qcow2")
        finally:
            holder.stdin.close()
    assert disk["state"] == "in use"
    assert disk["fullest"] is not None


def test_no_line_is_wider_than_the_terminal_and_no_name_moves_the_cursor(folder: Path) -> None:
    name = "\x1b[31mred " + "x" * 100 + "\n.qcow2"
    shutil.copy(folder / "one.qcow2", folder / name)
    answer = in_process("list", folder)
    assert all(len(line) <= 80 for line in answer.out.splitlines())
    assert "\x1b" not in answer.out
    assert len(answer.out.splitlines()) == 4


def test_many_images_are_looked_at_by_several_processes(folder: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(40):
        os.link(
            folder / ("one.qcow2" if number % 2 else "two.raw"),
            many / f"{number:02}.{'qcow2' if number % 2 else 'raw'}",
        )
    done = subprocess.run(
        [GROWDISK, "list", many, "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    disks = json.loads(done.stdout)["disks"]
    assert [Path(disk["path"]).stem for disk in disks] == [f"{number:02}" for number in range(40)]
    assert {disk["state"] for disk in disks} == {"off"}


def test_a_ctrl_c_while_the_processes_are_started_ends_the_list(folder: Path) -> None:
    code = (
        "import os, signal, sys; from growdisk.cli.main import main;"
        "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT));"
        "sys.exit(main(['list', *sys.argv[1:]]))"
    )
    many = [f"{folder}/{number}.raw" for number in range(40)]
    done = subprocess.run(
        [sys.executable, "-c", code, *many], env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, "stopped by Ctrl-C" in done.stderr) == (130, True), done
    assert "Traceback" not in done.stderr, done


@pytest.fixture
def many(folder: Path) -> Path:
    (place := folder / "many").mkdir()
    for number in range(1000):
        (place / f"{number}.qcow2").hardlink_to(folder / "one.qcow2")
    return place


def test_a_list_that_is_killed_says_nothing_of_its_processes(many: Path) -> None:
    with subprocess.Popen(
        [GROWDISK, "list", many], env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():
            assert process.poll() is None
        time.sleep(0.2)
        process.terminate()
        assert process.stderr is not None
        assert process.stderr.read() == "growdisk: stopped by Ctrl-C\n"


def test_a_process_that_is_killed_costs_the_list_its_share(many: Path) -> None:
    with subprocess.Popen(
        [GROWDISK, "--json", "list", many], env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (pids := children.read_text().split()):
            assert process.poll() is None
        os.kill(int(pids[0]), signal.SIGKILL)
        answer, _ = process.communicate(timeout=120)
    disks = json.loads(answer)["disks"]
    lost = [disk for disk in disks if "is gone" in (disk.get("error") or {}).get("why", "")]
    assert (process.returncode, len(disks)) == (0, 1000)
    assert 0 < len(lost) < 1000


def test_the_processes_of_a_list_are_ended_and_nobody_else_is_asked_to_stop(
    folder: Path, tmp_path: Path
) -> None:
    """As in a playbook, where a signal asks the run to stop."""
    many = [f"{folder}/one.qcow2", *(f"{tmp_path}/{number}.raw" for number in range(40))]
    with SignalsStop(StopRequest()) as stop:
        assert len(list_disks(Wanted(tuple(many)))) == 41
        assert not stop.requested_within(0.3)

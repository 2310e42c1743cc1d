"""Each shipped playbook under `growdisk run` and ansible-playbook: same disks and results.

`changed` is the same as well. Both start from copies of the same images, in check mode with --diff
first, then for real, then once more.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import yaml

from growdisk.units import GiB, MiB
from tests.ansible.playing import SHIPPED, Ansible, Document
from tests.ansible.twins import assert_same_disk
from tests.e2e.judges import assert_sound
from tests.guests.appliance import quick_bench
from tests.guests.classic import DISK_SIZE
from tests.guests.debian_files import debian_files
from tests.guests.layered import layered_guests
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.online.inside import boot_id, sizes
from tests.online.machine import started, wake_copy

_OF_THE_RUN = {
    "run",
    "seconds",
    "actual_size",
    "actual-size",
    "backend_reason",
    "date-sec",
    "date-nsec",
}
"""What two runs may tell differently: their names, how long they took, and how much they take on
the host.

`growdisk run` also has a way back for the whole play, which may be a snapshot, growdisk-play-*.
"""

_WITHOUT_TABLE = ("convert", "provision")
"""What makes a new image has no table to show before."""


@dataclass(frozen=True)
class Case:
    """`disks` by file name, each of a host; or of `hosts`, whose images are made of the first disk.

    `changed` are the tasks that change something, the first time. Of several tasks that build on
    one another `growdisk run --check` foresees what each would find; a module of Ansible sees the
    disk as it is. So only the first tasks, `foreseen`, say the same in check mode; all if None.
    """

    disks: dict[str, SmallDisk]
    variables: Document
    changed: tuple[str, ...]
    group: str = "guests"
    foreseen: int | None = None
    hosts: tuple[str, ...] = ()


SMALL = SmallDisk(size=128 * MiB, swap_size=16 * MiB)
RAW = SmallDisk(size=128 * MiB, swap_size=16 * MiB, image_format="raw")
BARE = SmallDisk(layout=Layout.NO_TABLE, size=64 * MiB)
DEBIAN = SmallDisk(size=128 * MiB, swap_size=16 * MiB, extra_files=debian_files())
CASES = {
    "classic-hand-recipe": Case(
        {"one.qcow2": SMALL}, {"size": "1G"},
        ("resize_image", "rewrite_partitions", "grow_filesystem", "repair_guest"), foreseen=1,
    ),
    "expand-root": Case({"one.qcow2": SMALL, "two.raw": RAW}, {"size": "1G"}, ("expand",)),
    "expand-data-disk": Case({"one.qcow2": BARE}, {"size": "1G"}, ("expand",), group="data_disks"),
    "move-swap-to-file": Case({"one.qcow2": SMALL}, {"size": "1G"}, ("expand",)),
    "convert-raw-to-qcow2-and-grow": Case(
        {"one.raw": RAW}, {"size": "1G"}, ("convert", "expand"), group="exported",
    ),
    "provision-from-base": Case(
        {"base.qcow2": DEBIAN}, {"size": "1G"}, ("provision",), group="new_guests",
        hosts=("web01", "web02"),
    ),
    "online-expand": Case({"one.qcow2": SMALL}, {"size": "1G"}, ("expand_online",),
        group="running"),
}  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of the two programs, with images of its own."""

    folder: Path
    play: Callable[..., list[Document]]

    def images(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.suffix in (".qcow2", ".raw"))


@pytest.mark.parametrize("name", CASES)
def test_a_shipped_playbook_ends_the_same_under_both(
    ansible: Ansible, tmp_path: Path, name: str
) -> None:
    case, playbook = CASES[name], SHIPPED / f"{name}.yml"
    ours, theirs = sides(ansible, tmp_path, case)
    before = {path: path.read_bytes() for side in (ours, theirs) for path in side.images()}

    planned = ours.play(playbook, "--check", "--diff")
    foreseen = theirs.play(playbook, "--check", "--diff")
    assert differences(planned[: case.foreseen], foreseen[: case.foreseen]) == []
    first = next(task for task in planned if task["state"] == "changed")
    assert short(first) == case.changed[0] and (
        "image: " in str(first["diff"]) or short(first) in _WITHOUT_TABLE
    )
    assert {path: path.read_bytes() for side in (ours, theirs) for path in side.images()} == before

    done = ours.play(playbook, "--diff")
    assert differences(done, theirs.play(playbook, "--diff")) == []
    assert {short(task) for task in done if task["state"] == "changed"} == set(case.changed)
    assert {str(task["state"]) for task in done} <= {"changed", "ok", "skipped"}
    assert [path.name for path in ours.images()] == [path.name for path in theirs.images()]
    for mine, other in zip(ours.images(), theirs.images(), strict=True):
        assert_same_disk(mine, other)
        assert_sound(mine)
        assert_sound(other)

    again = ours.play(playbook)
    assert differences(again, theirs.play(playbook)) == []
    assert {short(task) for task in again if task["state"] == "changed"} == set()


@pytest.mark.slow
@pytest.mark.appliance
def test_logical_volumes_grow_the_same_under_both(ansible: Ansible, tmp_path: Path) -> None:
    """LVM writes the time as text: its own tools judge."""
    case = Case({"one.qcow2": SMALL}, {"size": "1G", "volume": "guest-vg/root"}, ("expand",))
    ours, theirs = sides(
        ansible, tmp_path, case, lambda path, _: copied(layered_guests() / "lvm.raw", path)
    )
    done = ours.play(SHIPPED / "expand-lvm.yml")
    assert differences(done, theirs.play(SHIPPED / "expand-lvm.yml")) == []
    assert [task["state"] for task in done] == ["changed", "ok"]
    assert volumes(ours) == volumes(theirs)
    for side in (ours, theirs):
        (again, _) = side.play(SHIPPED / "expand-lvm.yml")
        assert again["state"] == "ok"


@pytest.mark.slow
@pytest.mark.boot
@pytest.mark.timeout(3600)
def test_a_running_guest_grows_the_same_under_both(ansible: Ansible, tmp_path: Path) -> None:
    """By the shipped playbook, without a restart; a second play finds nothing to do."""
    grown = DISK_SIZE + 10 * GiB
    case = Case(
        {"guest.qcow2": SMALL}, {"size": f"{grown // GiB}G"}, ("expand_online",), group="running"
    )
    told: list[list[list[Document]]] = []
    for side in sides(ansible, tmp_path, case, lambda path, _: wake_copy("scsi", path.parent)):
        with started(*side.images(), disk="scsi", woken=True) as guest:
            first, playbook = boot_id(guest), SHIPPED / "online-expand.yml"
            planned = side.play(playbook, "--check", "--diff")
            assert sizes(guest)["sda"] == DISK_SIZE
            done, again = side.play(playbook, "--diff"), side.play(playbook)
            assert [task["state"] for task in planned + done + again] == [
                "changed",
                "changed",
                "ok",
            ]
            assert cast("Document", done[0]["result"])["backend"] == "online"
            assert sizes(guest)["sda"] == grown and sizes(guest)["/"] > 12 * GiB
            assert boot_id(guest) == first
        told.append([planned, done, again])
    assert differences(*told) == []


def volumes(side: Side) -> str:
    with quick_bench(side.images(), read_only=True) as judge:
        listing = "lvm lvs --noheadings --units b -o vg_size,vg_free,lv_name,lv_size guest-vg"
        said = judge.run(
            f"lvm vgchange -ay guest-vg >&2; {listing}; e2fsck -fn /dev/guest-vg/root >&2"
        )
    assert "root" in said
    return said


def copied(source: Path, image: Path) -> Path:
    run("qemu-img", "convert", "-O", "qcow2", source, image)
    return image


def test_every_shipped_playbook_is_tried_both_ways() -> None:
    elsewhere = {"inventory.example", "expand-lvm", "watch"}
    assert {path.stem for path in SHIPPED.glob("*.yml")} == set(CASES) | elsewhere


def short(task: Document) -> str:
    return str(task["action"]).rpartition(".")[2]


Builder = Callable[[Path, SmallDisk], Path]


def sides(
    ansible: Ansible, folder: Path, case: Case, builder: Builder = make_disk
) -> tuple[Side, Side]:
    ours, theirs = folder / "growdisk", folder / "ansible"
    ours.mkdir()
    for name, disk in case.disks.items():
        builder(ours / name, disk)
    run("cp", "-r", "--sparse=always", ours, theirs)

    def growdisk(playbook: Path, *words: str) -> list[Document]:
        argv = [
            sys.executable, "-m", "growdisk.cli.main", "--json", "run", playbook,
            "-i", inventory(ours, case),
        ]  # fmt: skip
        more = ["-e", json.dumps(case.variables), *words]
        done = subprocess.run(
            [*argv, *more], capture_output=True, text=True, env=ansible.environment, cwd=folder
        )
        assert done.returncode == 0, done.stderr + done.stdout
        hosts = cast("list[Document]", json.loads(done.stdout)["hosts"])
        return [
            plain(ours, host["host"], task)
            for host in hosts
            for task in cast("list[Document]", host["tasks"])
        ]

    def ansible_playbook(playbook: Path, *words: str) -> list[Document]:
        played = ansible.play(playbook, inventory(theirs, case), *words, **case.variables)
        assert played.code == 0, played.said
        tasks = sorted(played.tasks, key=lambda task: task.host)
        return [
            plain(
                theirs,
                task.host,
                {"action": task.action, "state": task.state, "result": task.result},
            )
            for task in tasks
        ]

    return Side(ours, growdisk), Side(theirs, ansible_playbook)


def inventory(folder: Path, case: Case) -> Path:
    images = [f"{host}.qcow2" for host in case.hosts] or case.disks
    hosts = {Path(name).stem: {"image": str(folder / name)} for name in images}
    variables = {
        "ansible_connection": "local", "ansible_python_interpreter": sys.executable,
        "base": str(folder / next(iter(case.disks))),
    }  # fmt: skip
    path = folder / "inventory.yml"
    path.write_text(
        yaml.safe_dump({"all": {"vars": variables, "children": {case.group: {"hosts": hosts}}}})
    )
    return path


def plain(folder: Path, host: object, task: Document) -> Document:
    """What both must agree on: all of growdisk's own results, and how Ansible's tasks ended."""
    told: Document = {"host": host, "action": task["action"], "state": task["state"]}
    if not str(task["action"]).startswith("growdisk.disk.") or task["state"] == "skipped":
        return told
    result = {**cast("Document", task.get("result") or {})}
    told["diff"] = task.get("diff") or result.pop("diff", None)
    kept = {
        key: value
        for key, value in result.items()
        if key not in _ANSIBLES and not key.startswith("_ansible")
    }
    return {**told, "result": _plain(kept, str(folder))}


def differences(ours: object, theirs: object, where: str = "") -> list[str]:
    """Where the two differ, and in what: a whole result is too long to be read."""
    match ours, theirs:
        case (dict(), dict()):
            keys = sorted(ours.keys() | theirs.keys())
            return [
                each
                for key in keys
                for each in differences(ours.get(key), theirs.get(key), f"{where}.{key}")
            ]
        case (list(), list()) if len(ours) == len(theirs):
            pairs = enumerate(zip(ours, theirs, strict=True))
            return [
                each for number, pair in pairs for each in differences(*pair, f"{where}[{number}]")
            ]
    return [] if ours == theirs else [f"{where}: {ours!r} != {theirs!r}"]


_ANSIBLES = {"changed", "failed", "msg", "invocation", "warnings", "diff"}


def _plain(value: object, folder: str) -> object:
    match value:
        case dict():
            return {
                key: _plain(item, folder) for key, item in value.items() if key not in _OF_THE_RUN
            }
        case list() | tuple():
            return [
                _plain(item, folder) for item in value if not str(item).startswith("growdisk-play-")
            ]
        case str():
            return re.sub(re.escape(folder), "FOLDER", value)
    return value

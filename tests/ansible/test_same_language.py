"""What playbooks are written in means the same to `growdisk run` and to ansible-playbook."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from growdisk.units import MiB
from tests.ansible.playing import Ansible, Document
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run

PLAYBOOK = Path(__file__).parent / "playbooks/language.yml"
Told = dict[str, list[tuple[str, str]]]


def test_variables_loops_conditions_and_what_is_registered(
    ansible: Ansible, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    make_disk(ours / "guest.qcow2", SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    run("cp", "-r", ours, theirs)

    played = ansible.play(PLAYBOOK, ansible.inventory(theirs / "guest.qcow2"))
    assert played.code == 0, played.said
    argv = [sys.executable, "-m", "growdisk.cli.main", "--json", "run", PLAYBOOK, "-i"]
    done = subprocess.run(
        [*argv, ansible.inventory(ours / "guest.qcow2")],
        capture_output=True,
        text=True,
        env=ansible.environment,
    )
    assert done.returncode == 0, done.stderr
    (host,) = cast("list[Document]", json.loads(done.stdout)["hosts"])

    told = by_task(cast("list[Document]", host["tasks"]))
    expected = by_task(
        {"task": task.task, "state": task.state, "message": task.result.get("msg"), **items}
        for task in played.tasks
        for items in cast("list[Document]", task.result.get("results") or [{}])
    )
    folders = {str(ours): "FOLDER", str(theirs): "FOLDER"}
    assert plain(told, folders) == plain(expected, folders)
    assert ("ok", "small True") in told["Facts cross plays"]


def by_task(records: Iterable[Document]) -> Told:
    """State and words of each item of each task.

    Ansible tells those of a loop in one record, each its `msg`.
    """
    told: Told = {}
    for record in records:
        state, message = str(record["state"]), str(record.get("msg") or record.get("message") or "")
        if "ansible_loop_var" in record:
            state = (
                "skipped" if record.get("skipped") else "changed" if record.get("changed") else "ok"
            )
        if state in ("ignored", "failed"):
            # what to do stands in brackets, or in a field of its own
            message = message.partition(" (")[0]
        spoken = message if record["task"] in _SPEAKING and state != "skipped" else ""
        told.setdefault(str(record["task"]), []).append((state, spoken))
    return told


_SPEAKING = {"Grow in steps", "Say it", "Fails but is ignored", "Loop dicts", "Facts cross plays"}


def plain(told: Told, folders: dict[str, str]) -> str:
    text = json.dumps(told, indent=1, sort_keys=True)
    for folder, word in folders.items():
        text = text.replace(folder, word)
    return text

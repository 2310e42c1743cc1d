"""--tags and --skip-tags take the tasks that ansible-playbook takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.playbook.loader import load_playbook
from growdisk.playbook.model import Request
from tests.ansible.playing import Ansible

TAGS = (
    "", "foo", "foo,bar", "always", "always,foo", "never", "never,foo", "always,never", "all",
    "tagged", "untagged", "untagged,foo",
)  # fmt: skip
CHOICES = [
    ("", ""), ("foo", ""), ("", "foo"), ("all", "foo"), ("", "all"), ("", "all,always"),
    ("tagged", ""), ("untagged", ""), ("", "tagged"), ("", "untagged"), ("never", ""),
    ("all,foo", "bar"), ("always", ""), ("", "always"), ("tagged", "foo"), ("", "never"),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "skipped"), CHOICES, ids=str)
def test_the_tasks_with_these_tags_run(tmp_path: Path, tags: str, skipped: str) -> None:
    playbook = tmp_path / "play.yml"
    tasks = [
        {"name": f"task<{text}>", "ansible.builtin.debug": {}, **({"tags": text} if text else {})}
        for text in TAGS
    ]
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    words = [*(("--tags", tags) if tags else ()), *(("--skip-tags", skipped) if skipped else ())]
    argv = ("ansible-playbook", "-i", "here,", "--list-tasks", *words, playbook)
    judged = Ansible(tmp_path, tmp_path).run(*argv).stdout
    request = Request(playbook, tags=_split(tags), skip_tags=_split(skipped))
    (play,) = load_playbook(playbook).plays
    taken = [task.name for task in play.tasks if request.takes(task)]
    assert taken == [task.name for task in play.tasks if f"{task.name}\t" in judged]


def _split(words: str) -> frozenset[str]:
    return frozenset(filter(None, words.split(",")))

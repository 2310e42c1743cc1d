"""ansible-playbook as a real process, with the installed collection, nothing of the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "playbooks"
_CALLBACKS = Path(__file__).parent / "callback"
_PATIENCE = 600.0  # a busy machine

Document = dict[str, object]


@dataclass(frozen=True)
class TaskResult:
    """`state` is ok, changed, failed, ignored, skipped or unreachable."""

    host: str
    task: str
    action: str
    state: str
    result: Document


@dataclass(frozen=True)
class Played:
    """How a playbook ended: its exit code, the tasks' results in order, and its output."""

    code: int
    tasks: tuple[TaskResult, ...]
    said: str

    def of(self, action: str, host: str | None = None) -> list[TaskResult]:
        """The results of `growdisk.disk.ACTION`, on `host` alone if that is given."""
        name = f"growdisk.disk.{action}"
        return [task for task in self.tasks if task.action == name and host in (None, task.host)]

    def only(self, action: str) -> TaskResult:
        (result,) = self.of(action)
        return result

    @property
    def changed(self) -> list[bool]:
        return [task.state == "changed" for task in self.tasks]


class Ansible:
    """A controller with a home of its own. `collections` is where the collection is installed."""

    def __init__(self, home: Path, collections: Path) -> None:
        self.home = home
        self.environment = {
            **{name: value for name,
                value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "HOME": str(home),
            "ANSIBLE_HOME": str(home / "ansible"),
            "ANSIBLE_REMOTE_TMP": str(home / "remote"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_CALLBACK_PLUGINS": str(_CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": "records",
            "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
            "RECORDS": str(home / "records"), "TMPDIR": str(home),
        }  # fmt: skip

    def inventory(self, *images: Path, group: str = "guests", **more: object) -> Path:
        """One host an image, on this machine; `more` are variables of the group."""
        hosts = {image.name.partition(".")[0]: {"image": str(image)} for image in images}
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **more,
        }  # fmt: skip
        path = self.home / "inventory.yml"
        path.write_text(
            yaml.safe_dump({"all": {"children": {group: {"hosts": hosts, "vars": variables}}}})
        )
        return path

    def play(self, playbook: Path, inventory: Path, *words: str, **variables: object) -> Played:
        """ansible-playbook, with `variables` as -e has them."""
        records = Path(self.environment["RECORDS"])
        records.unlink(missing_ok=True)
        argv = ["ansible-playbook", "-i", inventory, *words, "-e", json.dumps(variables), playbook]
        done = self.run(*argv)
        lines = records.read_text().splitlines() if records.exists() else []
        return Played(
            done.returncode,
            tuple(TaskResult(**json.loads(line)) for line in lines),
            done.stdout + done.stderr,
        )

    def tasks(self, inventory: Path, *tasks: Document, words: tuple[str, ...] = ()) -> Played:
        """A play of these tasks on all hosts."""
        playbook = self.home / "playbook.yml"
        play = {"hosts": "all", "gather_facts": False, "tasks": list(tasks)}
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        return self.play(playbook, inventory, *words)

    def run(self, *argv: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in argv],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.home,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
        )

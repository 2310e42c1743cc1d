"""What `growdisk run` is asked to do: request, playbook, plays and tasks as they were read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growdisk.fast_dataclass import dataclass, field
from growdisk.host.yaml_reader import YamlPosition
from growdisk.playbook.specs import NAMESPACE, TASKS, TaskSpec

Vars = Mapping[str, object]

# What stands in place of the values of a task with no_log, and what to do about it.
NOT_SHOWN = "(not shown: no_log)"
SHOW_IT = "to see why, run the task without no_log"


@dataclass(frozen=True)
class LoopControl:
    loop_var: str = "item"
    index_var: str = ""
    label: str = ""


@dataclass(frozen=True)
class Task:
    """A task: `action` is its qualified name, `options` as written, with each one's place.

    All conditions must hold.
    """

    name: str
    action: str
    options: Mapping[str, object]
    place: YamlPosition
    places: Mapping[str, YamlPosition]
    vars: Vars
    when: tuple[str, ...] = ()
    loop: object = None
    loop_control: LoopControl = LoopControl()
    register: str = ""
    failed_when: tuple[str, ...] | None = None
    changed_when: tuple[str, ...] | None = None
    ignore_errors: object = None
    tags: frozenset[str] = frozenset()
    check_mode: object = None
    diff: object = None
    no_log: bool = False

    @property
    def spec(self) -> TaskSpec | None:
        """None for a task of Ansible's own."""
        return TASKS.get(self.action.removeprefix(f"{NAMESPACE}."))

    def place_of(self, option: str) -> YamlPosition:
        return self.places.get(option, self.place)


@dataclass(frozen=True)
class Play:
    name: str
    hosts: tuple[str, ...]
    place: YamlPosition
    tasks: tuple[Task, ...]
    vars: Vars
    vars_files: tuple[tuple[str, YamlPosition], ...] = ()
    ignore_errors: object = False
    check_mode: object = None
    diff: object = None


@dataclass(frozen=True)
class Playbook:
    path: Path
    plays: tuple[Play, ...]


# The tags of a task without any.
_UNTAGGED = frozenset({"untagged"})


@dataclass(frozen=True)
class Request:
    """`extra` beats every other variable. `tags` empty: all tasks but those tagged never."""

    playbook: Path
    inventories: tuple[str, ...] = ()
    extra: Vars = field(default_factory=dict)
    limit: str = ""
    tags: frozenset[str] = frozenset()
    skip_tags: frozenset[str] = frozenset()
    check: bool = False
    diff: bool = False
    jobs: int = 1

    def takes(self, task: Task) -> bool:
        """Ansible's rules, with its words always, never, all, tagged and untagged."""
        tags = task.tags or _UNTAGGED
        return self._asked_for(tags) and not self._skips(tags)

    def _asked_for(self, tags: frozenset[str]) -> bool:
        wanted = self.tags or {"all"}
        if "always" in tags or wanted & tags:
            return True
        # `never` runs only if it, or another tag of the task, is asked for.
        tagged = "tagged" in wanted and tags != _UNTAGGED
        return ("all" in wanted or tagged) and "never" not in tags

    def _skips(self, tags: frozenset[str]) -> bool:
        # `always` is spared by --skip-tags all alone: any other word that fits skips it.
        if "all" in self.skip_tags:
            return "always" not in tags or "always" in self.skip_tags
        tagged = "tagged" in self.skip_tags and tags != _UNTAGGED
        return bool(self.skip_tags & tags) or tagged

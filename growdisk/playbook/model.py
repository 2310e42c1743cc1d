"""A playbook as it was read: plays and tasks, checked, with templates not yet filled in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growdisk.fast_dataclass import dataclass
from growdisk.host.yaml_reader import YamlPosition

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
    ignore_errors: object = False
    tags: frozenset[str] = frozenset()
    check_mode: object = None
    diff: object = None
    no_log: bool = False

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

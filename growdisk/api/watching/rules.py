"""The rules file: which disks, when they grow, by what, and how far.

Errors name file, line and column.

rules:
  - domains: "web*"
    when_used: 85%
    step: 20%
    max_size: 200G
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from growdisk.api.fleet.values import DiskEntry
from growdisk.errors import GrowdiskError, UsageError
from growdisk.fast_dataclass import dataclass
from growdisk.host.yaml_fields import Fields, plain_text
from growdisk.host.yaml_reader import Located, bad_file, read_yaml
from growdisk.planner.given_values import largest_size, seconds_of, share
from growdisk.planner.option_table import SHARED
from growdisk.qcow2.names_in_headers import identity
from growdisk.units import MiB, align_up, parse_goal_size

_STEP, _WHEN, _INTERVAL, _KEEP, _TIMEOUT = "20%", "85%", "10m", "10%", "15m"
_LONGEST_TIMEOUT = 7 * 86400.0
_HOURS = r"([01]?\d|2[0-3]):([0-5]\d) ?- ?([01]?\d|2[0-3]):([0-5]\d)"
T = TypeVar("T")


@dataclass(frozen=True)
class WatchRule:
    """As it was written, and checked: its fields are the words of a rule.

    `domains`, `images`: patterns. `timeout`: seconds for one guest.
    """

    domains: tuple[str, ...]
    images: tuple[str, ...]
    when_used: str
    step: str
    max_size: str
    min_interval: str
    keep_host_free: str
    swap: str | None
    snapshots: str
    quiet_hours: tuple[time, time] | None
    timeout: float

    def is_for(self, entry: DiskEntry) -> bool:
        """Whether the rule is for the disk; a silent libvirt concerns all rules for machines."""
        if entry.domain:
            return any(fnmatchcase(entry.domain, pattern) for pattern in self.domains)
        if not entry.path:
            # Neither a machine nor a path: the entry stands for a libvirt that does not answer.
            return bool(self.domains)
        return any(_matches(entry.path, pattern) for pattern in self.images)

    @property
    def threshold(self) -> float:
        return share("when_used", self.when_used) or 0.0

    def is_quiet(self, now: time) -> bool:
        """Whether nothing may begin now; the hours may go over midnight."""
        if self.quiet_hours is None:
            return False
        first, last = self.quiet_hours
        # 22:00-06:00 goes over midnight: late or early.
        return first <= now < last if first <= last else now >= first or now < last

    @property
    def is_share(self) -> bool:
        """Whether its step is a share of the disk."""
        return self.step.endswith("%")

    def size_for(self, current: int) -> str:
        """The SIZE of `growdisk expand` for a disk of that many bytes."""
        if self.is_share:
            # In whole MiB, and one at least.
            growth = align_up(int(current * (share("step", self.step) or 0.0)) or MiB, MiB)
            return f"+{growth // MiB}M"
        return f"+{self.step.lstrip('+')}"

    def growth_of(self, current: int) -> int:
        """Bytes that a disk of that size would grow by."""
        new = parse_goal_size(self.size_for(current)).resolve(current)
        most = largest_size(self.max_size or None)
        return max((new if most is None else min(new, most)) - current, 0)


@dataclass(frozen=True)
class Rules:
    rules: tuple[WatchRule, ...]
    connect: str | None = None

    def rule_for(self, *alike: DiskEntry) -> WatchRule | None:
        """The first that is for any of them."""
        return next((rule for rule in self.rules if any(map(rule.is_for, alike))), None)

    def in_force(self, entries: Iterable[DiskEntry]) -> list[tuple[DiskEntry, WatchRule]]:
        """Each disk once with its rule, whatever names it has: machines, a file, a link.

        The first rule that is for any of its names counts; it is reached as the machine that runs,
        or as a machine.
        """
        named = defaultdict[object, list[DiskEntry]](list)
        for number, entry in enumerate(entries):
            # By device and inode; an entry without a file of this host is alone under its number.
            named[(entry.path and identity(entry.path)) or number].append(entry)
        return [
            (max(alike, key=lambda entry: (entry.state == "running", bool(entry.domain))), rule)
            for alike in named.values()
            if (rule := self.rule_for(*alike))
        ]


def _matches(path: str, pattern: str) -> bool:
    """A file, a pattern, or the folder that it lies in."""
    path = os.path.abspath(path)  # noqa: PTH100
    folder = os.path.dirname(path)  # noqa: PTH120
    return path == pattern or fnmatchcase(path, pattern) or folder == pattern.rstrip("/")


def load_rules(path: Path) -> Rules:
    """The rules in a YAML file; bad-file if it has none, or a mistake."""
    document = read_yaml(path)
    if document is None:
        raise bad_file("it has no rules", place=str(path), hint="write rules: and a list")
    fields = Fields(document, ("connect", "rules"), "a rules file", path.parent)
    if (listed := fields.node("rules")) is None:
        raise document.bad("it has no rules", hint="write rules: and a list")
    rules = tuple(_rule(item, path.absolute().parent) for item in fields.items("rules"))
    if not rules:
        raise listed.bad("the list of rules is empty", hint="write at least one")
    return Rules(rules, fields.text("connect") or None)


def _rule(node: Located, folder: Path) -> WatchRule:
    fields = Fields(node, tuple(WatchRule.__annotations__), "a rule", folder)
    domains, images = _texts(fields, "domains"), _texts(fields, "images")
    if not (domains or images):
        raise node.bad("a rule needs domains or images", hint='write domains: "web*"')
    return WatchRule(
        domains,
        tuple(os.path.normpath(folder / os.path.expanduser(pattern)) for pattern in images),  # noqa: PTH111
        _checked(fields, "when_used", _WHEN, lambda text: share("when_used", text)),
        _checked(fields, "step", _STEP, _step),
        _checked(fields, "max_size", "", largest_size),
        _checked(fields, "min_interval", _INTERVAL, seconds_of),
        _checked(fields, "keep_host_free", _KEEP, lambda text: share("keep_host_free", text)),
        fields.choice("swap", SHARED["swap"].choices),
        fields.choice("snapshots", SHARED["snapshots"].choices) or "auto",
        _quiet(fields),
        seconds_of(_checked(fields, "timeout", _TIMEOUT, _timeout)) or 0.0,
    )


def _texts(fields: Fields, word: str) -> tuple[str, ...]:
    """One pattern, or a list of some."""
    node = fields.node(word)
    if node is None:
        return ()
    texts = tuple(map(plain_text, node.items())) if node.is_list else (fields.text(word),)
    if not all(texts):
        raise node.bad(f"{word} has a pattern without a letter", hint="leave it out")
    return texts


def _checked(fields: Fields, word: str, default: str, check: Callable[[str], T]) -> str:
    """The text, which `check` can read; the `default` is good."""
    text, node = fields.text(word, default), fields.node(word)
    if node is not None:
        try:
            check(text)
        except GrowdiskError as error:
            # Some errors name the word themselves.
            what = error.what if error.what.startswith(word) else f"{word}: {error.what}"
            raise node.bad(what, reason=error.why, hint=error.what_to_do) from error
    return text


def _step(text: str) -> None:
    if text.endswith("%"):
        if not share("step", text):
            raise UsageError("a step of nothing", hint="write step: 20%")
    elif parse_goal_size(text).bytes <= 0:
        raise UsageError("a step of nothing", hint="write step: 10G")


def _timeout(text: str) -> None:
    if not 0 < (seconds_of(text, "timeout") or 0.0) <= _LONGEST_TIMEOUT:
        raise UsageError(f"{text} for one guest", hint="write timeout: 15m, at most 7d")


def _quiet(fields: Fields) -> tuple[time, time] | None:
    text, node = fields.text("quiet_hours"), fields.node("quiet_hours")
    if node is None or not text:
        return None
    match = re.fullmatch(_HOURS, text.strip())
    if match is None:
        raise node.bad(f"quiet_hours cannot be '{text}'", hint='write quiet_hours: "22:00-06:00"')
    first, last = time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))
    return first, last

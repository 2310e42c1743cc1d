"""One round: list the disks that rules are for, deal with each, say how it went. Never two rounds at once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from growdisk.api.fleet.listing import Wanted, list_disks
from growdisk.api.fleet.values import DiskEntry
from growdisk.api.watching.actions import Action, deal_with
from growdisk.api.watching.rules import Rules, WatchRule
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.workflow.places import state_folder


@dataclass(eq=False)
class RoundGoingOn(Refused):
    WHAT: ClassVar[str] = "another round is going on"
    WHY: ClassVar[str] = "another growdisk watch holds {lock}"
    DO: ClassVar[str] = "wait until it has ended: systemctl status growdisk-watch"
    lock: Path


@dataclass(frozen=True)
class Round:
    """`code` is the worst of its actions."""

    actions: tuple[Action, ...]
    seconds: float
    dry_run: bool

    @property
    def code(self) -> int:
        return max((action.code for action in self.actions), default=0)


def watch_once(rules: Rules, uri: str | None, tell: Callable[[Action], None], *, dry_run: bool, jobs: int) -> Round:
    """`tell` hears of each action as soon as it is done. RoundGoingOn, LibvirtUnreachable."""
    begun = time.monotonic()
    with _alone():
        wanted = [(entry, rule) for entry in list_disks(_wanted(rules, uri)) if (rule := rules.rule_for(entry))]

        def one(pair: tuple[DiskEntry, WatchRule]) -> Action:
            action = deal_with(*pair, uri or rules.connect, dry_run=dry_run)
            tell(action)
            return action

        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            actions = tuple(pool.map(one, wanted))
    return Round(actions, time.monotonic() - begun, dry_run)


def _wanted(rules: Rules, uri: str | None) -> Wanted:
    images = dict.fromkeys(image for rule in rules.rules for image in rule.images)
    domains = any(rule.domains for rule in rules.rules)
    return Wanted(tuple(images), all_domains=domains, uri=uri or rules.connect)


@contextmanager
def _alone() -> Iterator[None]:
    """The kernel lets go of the lock, however this process ends."""
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = folder / "watch.lock"
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RoundGoingOn(lock) from error
        yield
    finally:
        os.close(fd)

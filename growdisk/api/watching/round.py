"""One round, never two at once: list the disks that rules are for, deal with each, report."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

from growdisk.api.fleet.listing import Wanted, list_disks
from growdisk.api.fleet.values import DiskEntry
from growdisk.api.host_space import Promises
from growdisk.api.watching.actions import Action, RoundContext, act_on
from growdisk.api.watching.rules import Rules, WatchRule
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.workflow.run_places import state_folder
from growdisk.workflow.stopping import StopRequest


@dataclass(frozen=True)
class Round:
    """`code` is the worst of its actions."""

    actions: tuple[Action, ...]
    seconds: float
    dry_run: bool

    @property
    def code(self) -> int:
        return max((action.code for action in self.actions), default=0)


def watch_once(
    rules: Rules,
    uri: str | None,
    report: Callable[[Action], None],
    *,
    dry_run: bool,
    jobs: int,
    stopping: AbstractContextManager[StopRequest] | None = None,
) -> Round:
    """`report` hears of each action as soon as it is done. round-going-on.

    `stopping` is entered once disks are known: processes are forked to look at them.
    """
    begun = time.monotonic()
    with _alone():
        # It forks: before the pool has threads, and before `stopping` handles signals.
        wanted = rules.in_force(list_disks(_wanted(rules, uri)))
        with (
            stopping or nullcontext(StopRequest()) as stop,
            ThreadPoolExecutor(jobs) as pool,
        ):
            context = RoundContext(uri or rules.connect, Promises(), stop, dry_run)

            def one(pair: tuple[DiskEntry, WatchRule]) -> Action:
                action = act_on(*pair, context)
                report(action)
                return action

            actions = tuple(pool.map(one, wanted))
    return Round(actions, time.monotonic() - begun, dry_run)


def _wanted(rules: Rules, uri: str | None) -> Wanted:
    images = dict.fromkeys(image for rule in rules.rules for image in rule.images)
    domains = dict.fromkeys(domain for rule in rules.rules for domain in rule.domains)
    return Wanted(tuple(images), tuple(domains), uri=uri or rules.connect, forgiving=True)


@contextmanager
def _alone() -> Iterator[None]:
    """The kernel lets go of the lock, however this process ends."""
    folder = state_folder()
    lock = folder / "watch.lock"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused.named(
            "no-place-for-rounds",
            "cannot make sure that no other round is going on",
            "{folder} cannot be written: {reason}",
            "name a folder that can be: --state-dir DIR",
            {"folder": folder, "reason": error.strerror or str(error)},
        ) from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused.named(
                "round-going-on",
                "another round is going on",
                "another growdisk watch holds {lock}",
                "wait until it has ended: systemctl status growdisk-watch",
                {"lock": lock},
            ) from error
        yield
    finally:
        os.close(fd)


# A round as --json shows it: for the command line, and for the tasks of playbooks.


def round_document(ended: Round) -> dict[str, object]:
    return {
        "code": ended.code,
        "dry_run": ended.dry_run,
        "seconds": round(ended.seconds, 3),
        "disks": [_disk(action) for action in ended.actions],
    }


def _disk(action: Action) -> dict[str, object]:
    entry = action.entry
    return {
        "name": entry.name,
        "path": entry.path or None,
        "domain": entry.domain or None,
        "fullness": round(100 * entry.fullness, 1) if entry.fullest else None,
        "size": entry.virtual_size,
        "result": action.result,
        "code": action.code,
        "detail": action.detail,
        "seconds": round(action.seconds, 3),
        "new_size": action.new_size,
    }

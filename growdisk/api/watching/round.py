"""One round: list the disks that rules are for, deal with each, say how it went.

Never two rounds at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from growdisk.api.fleet.listing import Wanted, list_disks
from growdisk.api.fleet.values import DiskEntry
from growdisk.api.host_space import Promises
from growdisk.api.watching.actions import Action, RoundContext, act_on
from growdisk.api.watching.rules import Rules, WatchRule
from growdisk.durable import open_locked, replace_file
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

    `stopping` gives a request to stop; it is entered once disks are known, for processes are forked
    to look at them.
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
        fd = open_locked(lock, 0o600)
    except BlockingIOError as error:
        raise Refused.named(
            "round-going-on",
            "another round is going on",
            "another growdisk watch holds {lock}",
            "wait until it has ended: systemctl status growdisk-watch",
            {"lock": lock},
        ) from error
    except OSError as error:
        raise Refused.named(
            "no-place-for-rounds",
            "cannot make sure that no other round is going on",
            "{folder} cannot be written: {reason}",
            "name a folder that can be: --state-dir DIR",
            {"folder": folder, "reason": error.strerror or str(error)},
        ) from error
    try:
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


# --- metrics of a round: a text file (0.0.4) for Prometheus' node exporter ------------------------


_READABLE = 0o644  # the collector is another user
Sample = tuple[dict[str, str], float]


def write_metrics(path: Path, ended: Round) -> None:
    """The whole file at once: a reader never sees a part. metrics-not-written."""
    try:
        replace_file(path, as_text(ended, time.time()).encode("utf-8", "replace"), _READABLE)
    except OSError as error:
        raise Refused.named(
            "metrics-not-written",
            "cannot write the metrics to {path}",
            "{reason}",
            "name a file in a folder that is there and can be written; the round itself is done",
            {"path": path, "reason": error.strerror or str(error)},
        ) from error


def as_text(ended: Round, now: float) -> str:
    return "".join(
        line
        for name, text, samples in _families(ended, now)
        for line in _lines(name, text, samples)
    )


def _families(ended: Round, now: float) -> Iterator[tuple[str, str, list[Sample]]]:
    actions = ended.actions

    def of_disks(value: Callable[[Action], float | None]) -> list[Sample]:
        found = ((disk, value(disk)) for disk in actions)
        return [(_labels(disk), float(known)) for disk, known in found if known is not None]

    yield (
        "growdisk_filesystem_fullness_ratio",
        "How full a file system is, of what users may fill.",
        [
            ({**_labels(d), "filesystem": fs.name}, fs.fullness)
            for d in actions
            for fs in d.entry.file_systems
        ],
    )
    yield "growdisk_disk_size_bytes", "Size of the virtual disk.", of_disks(_size)
    on_host = "What the image takes on the host."
    yield "growdisk_disk_host_bytes", on_host, of_disks(lambda d: d.entry.actual_size)
    idle = "Room of the disk that belongs to no file system."
    yield "growdisk_disk_idle_bytes", idle, of_disks(_idle)
    yield (
        "growdisk_disk_last_result",
        "How the disk came out of the last round, in its label.",
        [({**_labels(d), "result": d.result.replace(" ", "_")}, 1.0) for d in actions],
    )
    code = "0 all is well, 3 refused, 4 failed and restored, 5 needs a person."
    yield "growdisk_disk_last_code", code, of_disks(lambda d: d.code)
    yield "growdisk_watch_last_code", "The worst of the last round.", [({}, float(ended.code))]
    yield (
        "growdisk_watch_last_duration_seconds",
        "How long the last round took.",
        [({}, round(ended.seconds, 3))],
    )
    yield (
        "growdisk_watch_last_timestamp_seconds",
        "When the last round ended.",
        [({}, round(now, 3))],
    )


def _size(action: Action) -> int | None:
    return action.new_size if action.result == "grown" else action.entry.virtual_size


def _idle(action: Action) -> int | None:
    return action.entry.idle if action.entry.virtual_size is not None else None


def _labels(action: Action) -> dict[str, str]:
    return {"disk": action.entry.name}


def _lines(name: str, text: str, samples: list[Sample]) -> Iterator[str]:
    if samples:
        yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
    # A dict: for two lines with the same labels the collector would refuse the whole file.
    for labels, value in {
        tuple(sorted(labels.items())): value for labels, value in samples
    }.items():
        inside = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels)
        yield f"{name}{{{inside}}} {value!r}\n" if inside else f"{name} {value!r}\n"


def _escaped(word: str) -> str:
    word = word.encode("utf-8", "backslashreplace").decode()
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

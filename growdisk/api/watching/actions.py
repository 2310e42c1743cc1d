"""What is done about one disk of a round: by a growdisk of its own, whose time is bounded.

A process each, so that a guest that hangs or a bug costs nobody else anything. When its time is up
it is asked to stop, and takes its run back; a minute later it is killed, and the next round goes on
with what the journal says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from growdisk.api.fleet.values import LIVE, DiskEntry
from growdisk.api.host_space import Promises
from growdisk.api.watching.rules import WatchRule
from growdisk.errors import GrowdiskError, Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.command import CompletedCommand, run
from growdisk.planner.given_values import share
from growdisk.planner.option_table import BY_RULE, SHARED, SNAPSHOTS, as_flag
from growdisk.units import format_change, format_size, whole_percent
from growdisk.workflow.stopping import OF_A_SIGNAL, StopRequest

Ending = Literal[
    "grown", "would grow", "resumed", "nothing", "quiet", "busy", "refused", "restored", "stuck"
]

_GRACE = 60  # seconds between being asked to stop and being killed
# Seconds beyond what timeout(1) takes at the most: it only counts if that hangs itself.
_MORE = 30.0
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from growdisk.cli.main import main; "
    "sys.exit(main())"
)
_REFUSED, _RESTORED, _STUCK = 3, 4, 5
# The disk is as large as before: the room that was promised to it is free again.
_LEFT_ALONE = ("nothing", "refused", "restored")
_OF_CODE: dict[int, Ending] = {2: "refused", _REFUSED: "refused", _RESTORED: "restored"}


@dataclass(frozen=True)
class Action:
    """How a disk came out of a round. `code` as growdisk's exit codes; `detail` in words."""

    entry: DiskEntry
    result: Ending
    code: int = 0
    detail: str = ""
    seconds: float = 0.0
    new_size: int | None = None


@dataclass(frozen=True)
class RoundContext:
    """How a round is done.

    `uri`: which libvirt; `stop` ends what is under way, and nothing begins after it.
    """

    uri: str | None
    promises: Promises
    stop: StopRequest
    dry_run: bool = False


def act_on(entry: DiskEntry, rule: WatchRule, context: RoundContext) -> Action:
    """What the rule wants for this disk, done. Raises nothing."""
    if context.stop.requested:
        return Action(entry, "restored", _RESTORED, "the round was stopped before its turn")
    if entry.error is not None:
        return Action(entry, "refused", _REFUSED, f"{entry.error['what']}: {entry.error['why']}")
    if entry.run == "running":
        return Action(entry, "busy", detail="a run is going on")
    # Before fullness is asked: a run must not stay half done because its disk has room.
    if entry.run == "unfinished":
        if context.dry_run:
            return Action(entry, "busy", detail="an unfinished run would be resumed")
        return _resumed(entry, rule, context)
    # A guest that says nothing has only old superblocks: one that is to grow is asked again.
    silent = entry.state in LIVE and bool(entry.note)
    # Below 0 it is not known: growdisk, which can ask the guest, decides by --when-used itself.
    if 0 <= entry.fullness <= rule.threshold and not silent:
        return Action(entry, "nothing", detail=_fullness(entry))
    # Local time, as the file has it.
    if rule.is_quiet(datetime.now().astimezone().time()):
        return Action(
            entry, "quiet", detail=f"{_fullness(entry)}; nothing begins in the quiet hours"
        )
    # A share of what? Neither SIZE nor a promise could be worked out.
    if entry.virtual_size is None and rule.is_share:
        note = entry.note or "nothing tells its size"
        return Action(entry, "refused", _REFUSED, f"{note}: a step as a size (10G) would do")
    return _grown_within_room(entry, rule, context)


def _grown_within_room(entry: DiskEntry, rule: WatchRule, context: RoundContext) -> Action:
    """Grow the disk if it fits beside what is promised; refused only if it would grow."""
    growth = rule.growth_of(entry.virtual_size or 0)
    try:
        with context.promises.of(
            entry.path, growth, share("keep_host_free", rule.keep_host_free) or 0.0
        ) as promise:
            action = _grown(entry, rule, context)
            promise.kept = action.result not in _LEFT_ALONE
        return action
    except Refused as error:
        # There is no room; but a disk that needs none is not to be reported for that.
        planned = _grown(entry, rule, replace(context, dry_run=True))
        refused = Action(entry, "refused", _REFUSED, str(error), planned.seconds)
        return refused if planned.result == "would grow" else planned


def _grown(entry: DiskEntry, rule: WatchRule, context: RoundContext) -> Action:
    words = [
        "plan" if context.dry_run else "expand",
        *_target(entry, context.uri),
        rule.size_for(entry.virtual_size or 0),
    ]
    for option in (*BY_RULE, SHARED["swap"], SNAPSHOTS):
        if value := getattr(rule, option.name):
            words += [as_flag(option.name), value]
    done = _done(entry, words, rule.timeout, context.stop)
    return done if isinstance(done, Action) else _ended(entry, *done)


def _resumed(entry: DiskEntry, rule: WatchRule, context: RoundContext) -> Action:
    done = _done(entry, ["resume", entry.path], rule.timeout, context.stop)
    if isinstance(done, Action):
        return done
    found, seconds = done
    return Action(
        entry, "resumed", 0, f"an earlier run is finished: {found.get('result')}", seconds
    )


def _target(entry: DiskEntry, uri: str | None) -> list[str]:
    if entry.domain:
        return [
            f"--domain={entry.domain}",
            f"--disk={entry.target}",
            *([f"--connect={uri}"] if uri else []),
        ]
    return [entry.path, *(["--online", "agent"] if entry.state in LIVE else [])]


def _done(
    entry: DiskEntry, words: list[str], seconds: float, stop: StopRequest
) -> tuple[dict[str, object], float] | Action:
    """Run growdisk with `words`, no longer than that: its answer and seconds, or its failure."""
    # The folder that this very growdisk is in: installed or not, the child is the same one.
    house = str(Path(__file__).parents[3])
    # SIGTERM first, which growdisk takes for a request to stop; its exit code is passed on.
    bounded = ["timeout", "--preserve-status", f"--kill-after={_GRACE}", f"{seconds:g}"]
    argv = [*bounded, sys.executable, "-c", _START, house, *words, "--json"]
    pids, begun = list[int](), time.monotonic()

    def ask_to_stop() -> None:
        """`timeout` passes it on."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def at(pid: int) -> None:
        pids.append(pid)
        # A request made before there was a process would be lost.
        if stop.requested:
            ask_to_stop()

    try:
        with stop.calling(ask_to_stop):
            done = run(argv, timeout=seconds + _GRACE + _MORE, accept=None, begun=at)
    except (GrowdiskError, OSError) as error:
        # OSError: this host has no room for another process.
        why = f"growdisk cannot be started: {error}" if isinstance(error, OSError) else str(error)
        return Action(entry, "stuck", _STUCK, why, time.monotonic() - begun)
    found = _document(done)
    if done.status == 0:
        return found, done.seconds
    late = f" (its time of {seconds:g} s was up)" if done.seconds >= seconds else ""
    return _failed(entry, done, found, late)


def _ended(entry: DiskEntry, found: dict[str, object], seconds: float) -> Action:
    if found.get("result") == "nochange":
        return Action(entry, "nothing", detail=str(found.get("reason", "")), seconds=seconds)
    old, new = entry.virtual_size or 0, _size_after(found)
    result: Ending = "would grow" if found.get("result") == "planned" else "grown"
    return Action(entry, result, 0, f"{format_change(old, new)} ({_fullness(entry)})", seconds, new)


def _failed(
    entry: DiskEntry, done: CompletedCommand, found: dict[str, object], late: str
) -> Action:
    error = found.get("error")
    failure = (
        error if isinstance(error, dict) else {"what": "growdisk died", "why": done.last_words}
    )
    # From its first step on, growdisk would have answered that itself.
    if done.status in OF_A_SIGNAL:
        return Action(
            entry, "restored", _RESTORED, f"it was stopped before it began{late}", done.seconds
        )
    why = f"{failure['what']}: {failure['why']}{late}"
    # A usage error (2) can only come from the rule: the round reports it as refused (3).
    result = _OF_CODE.get(done.status, "stuck")
    return Action(
        entry,
        result,
        _STUCK if result == "stuck" else max(done.status, _REFUSED),
        why,
        done.seconds,
    )


def _document(done: CompletedCommand) -> dict[str, object]:
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _size_after(found: dict[str, object]) -> int:
    after = found.get("after")
    image = after.get("image") if isinstance(after, dict) else None
    return int(image["virtual_size"]) if isinstance(image, dict) else 0


def _fullness(entry: DiskEntry) -> str:
    if (fullest := entry.fullest) is None:
        return "it is not known how full it is"
    return (
        f"{fullest.name} is {whole_percent(fullest.fullness)} % full of {format_size(fullest.size)}"
    )

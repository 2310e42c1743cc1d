"""What is done about one disk of a round: by a growdisk of its own, whose time is bounded.

A process each, so that a guest that hangs or a bug costs nobody else anything. When its time is up it is asked to stop,
and takes its run back; a minute later it is killed, and the next round goes on with what the journal says.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.fleet.values import DiskEntry
from growdisk.api.watching.rules import WatchRule
from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass
from growdisk.host.command import CompletedCommand, run
from growdisk.units import format_change, format_size

if TYPE_CHECKING:
    from typing import Literal

    Ending = Literal["grown", "would grow", "resumed", "nothing", "quiet", "busy", "refused", "restored", "stuck"]

Ended = Callable[[dict[str, object], float], "Action"]
"""What becomes of growdisk's document, and of the seconds that it took."""

_GRACE = 60  # seconds between being asked to stop and being killed
_MORE = 30.0
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from growdisk.cli.main import main; sys.exit(main())"
_REFUSED, _RESTORED, _STUCK = 3, 4, 5
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


def deal_with(entry: DiskEntry, rule: WatchRule, uri: str | None, *, dry_run: bool) -> Action:
    """What the rule wants for this disk, done. Raises nothing."""
    if entry.error is not None:
        return Action(entry, "refused", _REFUSED, f"{entry.error['what']}: {entry.error['why']}")
    if entry.run == "running":
        return Action(entry, "busy", detail="a run is going on")
    if entry.run == "unfinished":
        return Action(entry, "busy", detail="an unfinished run would be resumed") if dry_run else _resumed(entry, rule)
    # Of a guest that says nothing only old superblocks are known: whoever is to grow it asks again, and tells.
    silent = entry.state == "running" and bool(entry.note)
    if 0 <= entry.fullness <= rule.threshold and not silent:
        return Action(entry, "nothing", detail=_fullness(entry))
    if rule.is_quiet(datetime.now().astimezone().time()):
        return Action(entry, "quiet", detail=f"{_fullness(entry)}; nothing begins in the quiet hours")
    return _grown(entry, rule, uri, dry_run=dry_run)


def _grown(entry: DiskEntry, rule: WatchRule, uri: str | None, *, dry_run: bool) -> Action:
    words = ["plan" if dry_run else "expand", *_target(entry, uri), rule.size_for(entry.virtual_size or 0)]
    for option in ("when_used", "max_size", "min_interval", "keep_host_free", "swap", "snapshots"):
        if value := getattr(rule, option):
            words += [f"--{option.replace('_', '-')}", value]
    return _done(entry, words, rule.timeout, lambda found, seconds: _ended(entry, found, seconds))


def _resumed(entry: DiskEntry, rule: WatchRule) -> Action:
    def ended(found: dict[str, object], seconds: float) -> Action:
        return Action(entry, "resumed", 0, f"an earlier run is finished: {found.get('result')}", seconds)

    return _done(entry, ["resume", entry.path], rule.timeout, ended)


def _target(entry: DiskEntry, uri: str | None) -> list[str]:
    if entry.domain:
        return [f"--domain={entry.domain}", f"--disk={entry.target}", *([f"--connect={uri}"] if uri else [])]
    return [entry.path, *(["--online", "agent"] if entry.state == "running" else [])]


def _done(entry: DiskEntry, words: list[str], seconds: float, ended: Ended) -> Action:
    """Run growdisk with `words`, no longer than that."""
    house = str(Path(__file__).parents[3])
    bounded = ["timeout", "--preserve-status", f"--kill-after={_GRACE}", f"{seconds:g}"]
    argv = [*bounded, sys.executable, "-c", _START, house, *words, "--json"]
    begun = time.monotonic()
    try:
        done = run(argv, timeout=seconds + _GRACE + _MORE, accept=None)
    except GrowdiskError as error:
        return Action(entry, "stuck", _STUCK, f"{error.what}: {error.why}", time.monotonic() - begun)
    found = _document(done)
    if done.status == 0:
        return ended(found, done.seconds)
    return _failed(entry, done, found, late=done.seconds >= seconds)


def _ended(entry: DiskEntry, found: dict[str, object], seconds: float) -> Action:
    if found.get("result") == "nochange":
        return Action(entry, "nothing", detail=str(found.get("reason", "")), seconds=seconds)
    old, new = entry.virtual_size or 0, _size_after(found)
    result: Ending = "would grow" if found.get("result") == "planned" else "grown"
    return Action(entry, result, 0, f"{format_change(old, new)} ({_fullness(entry)})", seconds, new)


def _failed(entry: DiskEntry, done: CompletedCommand, found: dict[str, object], *, late: bool) -> Action:
    error = found.get("error")
    told = error if isinstance(error, dict) else {"what": "growdisk died", "why": done.last_words}
    why = f"{told['what']}: {told['why']}" + (f" (its time of {done.seconds:.0f} s was up)" if late else "")
    result = _OF_CODE.get(done.status, "stuck")
    return Action(entry, result, _STUCK if result == "stuck" else max(done.status, _REFUSED), why, done.seconds)


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
    fullest = entry.fullest
    return f"{fullest.name} is {int(100 * fullest.fullness)}% full of {format_size(fullest.size)}" if fullest else "?"

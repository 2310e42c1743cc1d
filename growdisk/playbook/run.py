"""Runs a playbook from beginning to end, continues one that was cut short, or takes it back."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from growdisk.api.current_run import new_run_name
from growdisk.errors import GrowdiskError, Refused, UsageError, bad_value
from growdisk.fast_dataclass import asdict, dataclass, replace
from growdisk.given_file import read_given
from growdisk.host.json_codec import converted
from growdisk.playbook.host_pool import HostPool, Work, cannot_go_on
from growdisk.playbook.host_run import HostRun, settle
from growdisk.playbook.hosts import Host, PlayContext, hosts_of
from growdisk.playbook.inventory import Inventory, read_inventories
from growdisk.playbook.loader import load_playbook
from growdisk.playbook.model import Playbook, Request
from growdisk.playbook.play_records import Claims, PlayJournal, RunFolder, unfinished_run
from growdisk.playbook.preflight import Preflight, given_by, refuse_twice
from growdisk.playbook.reports import Event, HostReport, merge_reports, worst
from growdisk.workflow.stopping import StopRequest

_STOPPED = 4
_Reports = dict[str, list[HostReport]]


def _playbook_changed(playbook: Path, reason: str) -> Refused:
    return Refused.named(
        "playbook-changed",
        "{playbook} is not the playbook that was cut short",
        "{reason}",
        "put the old one back for --resume, or take back what was done: growdisk run {playbook} "
        "--undo",
        {"playbook": playbook, "reason": reason},
    )


def _play_has_ended(playbook: Path) -> Refused:
    return Refused.named(
        "play-has-ended",
        "there is nothing to undo of {playbook}",
        "it has ended on all hosts that it began on, and its ways back are gone",
        "growdisk run {playbook} --resume goes on with what is left, and says how they ended",
        {"playbook": playbook},
    )


@dataclass(frozen=True)
class PlaybookResult:
    """`hosts` in the order in which they were named.

    `stopped`: a signal kept some of them from being begun.
    """

    hosts: tuple[HostReport, ...]
    stopped: bool

    @property
    def code(self) -> int:
        codes = [report.code for report in self.hosts]
        return worst([*codes, _STOPPED] if self.stopped else codes)


@dataclass(frozen=True)
class Listener:
    """What hears of the hosts of all plays before anything runs, then of each event.

    `tick` is called often, for a display that moves.
    """

    begins: Callable[[list[str]], None]
    emit: Callable[[Event], None]
    tick: Callable[[], None]


def run_playbook(request: Request, listener: Listener) -> PlaybookResult:
    """All plays. Everything that can be refused is, before anything runs."""
    prepared = _prepare(request)
    run = new_run_name()
    if request.check:
        # Check mode writes nothing: no record, and no claims that would keep others waiting.
        return _PlaybookRun(prepared, run, None, listener).all_plays()
    folder = RunFolder(run)
    # Claimed before anything is recorded: a play that cannot have all leaves no trace.
    with _claimed(folder, prepared.images):
        folder.begin(_description(request, prepared))
        return _PlaybookRun(prepared, run, folder, listener).all_plays()


def resume_playbook(path: Path, listener: Listener, *, jobs: int, undo: bool) -> PlaybookResult:
    """Go on with the newest run of the playbook that was cut short, or take it back."""
    folder = unfinished_run(path, "undo" if undo else "resume")
    description = folder.description()
    folder_then = str(description["folder"])
    try:
        os.chdir(folder_then)  # paths were meant from there
    except OSError as error:
        reason = error.strerror or str(error)
        hint = f"it was run there; make it again: mkdir -p {shlex.quote(folder_then)}"
        raise UsageError(f"cannot go to the folder {folder_then}", hint, reason) from error
    request = replace(converted(description, Request), jobs=jobs)
    if not undo and description["digest"] != _digest(request.playbook):
        raise _playbook_changed(path, reason="its text has been changed since")
    # Not looked at: images are half changed, and what the play has made or moved would be refused.
    prepared = _prepare(request, look=False)
    # Journals are found by the numbers of play and host: both lists must be what they were.
    names = [[host.name for host in hosts] for hosts in prepared.hosts]
    if names != description["hosts"]:
        raise _playbook_changed(
            path, reason="its hosts are others now (the inventory, or what a pattern matches)"
        )
    # Those that were claimed then. Which they are now could depend on what the play has done.
    images = description["images"] if isinstance(description["images"], list) else []
    with _claimed(folder, [Path(str(image)) for image in images]):
        running = _PlaybookRun(prepared, folder.run, folder, listener)
        if undo and (begun := running.begun()) and all(each.end_report() for each in begun):
            raise _play_has_ended(path)
        return running.all_plays(undo=undo)


@contextmanager
def _claimed(folder: RunFolder, images: Sequence[Path]) -> Iterator[None]:
    """No other play touches the images meanwhile, nor afterwards if the run's record stays."""
    claims = Claims(folder.run)
    try:
        for image in images:
            claims.claim(image)
        yield
    finally:
        claims.release(finished=not folder.is_unfinished)


@dataclass(frozen=True)
class _Prepared:
    request: Request
    playbook: Playbook
    inventory: Inventory
    hosts: tuple[tuple[Host, ...], ...]
    images: tuple[Path, ...] = ()

    def names(self) -> list[str]:
        return list(dict.fromkeys(host.name for hosts in self.hosts for host in hosts))

    def context(self, play: int, host: Host) -> PlayContext:
        return PlayContext(
            self.request, self.playbook, self.playbook.plays[play], play, host, self.inventory
        )


def _prepare(request: Request, *, look: bool = True) -> _Prepared:
    playbook = load_playbook(request.playbook)
    inventory = read_inventories(request.inventories, request.playbook.parent)
    hosts = tuple(tuple(hosts_of(play, request, inventory)) for play in playbook.plays)
    if request.limit and not any(hosts):
        hint = "name a host, a group or an image of the plays"
        raise bad_value(f"no host matches --limit {request.limit}", "--limit", request.limit, hint)
    prepared = _Prepared(request, playbook, inventory, hosts)
    return replace(prepared, images=_look(prepared)) if look else prepared


def _look(prepared: _Prepared) -> tuple[Path, ...]:
    images: dict[Path, None] = {}
    made: set[Path] = set()
    given: list[str] = []
    for number, play in enumerate(prepared.playbook.plays):
        touched = {
            host.name: Preflight(prepared.context(number, host), made, given).touched_images()
            for host in prepared.hosts[number]
        }
        refuse_twice(play.name, touched)
        images.update(dict.fromkeys(chain.from_iterable(touched.values())))
        given += given_by(play.tasks)
    return tuple(images)


class _PlaybookRun:
    def __init__(
        self, prepared: _Prepared, run: str, folder: RunFolder | None, listener: Listener
    ) -> None:
        self._prepared, self._run, self._folder, self._listener = prepared, run, folder, listener
        self._pool = HostPool(listener.emit, listener.tick)

    def begun(self) -> list[PlayJournal]:
        """Of each play on each host that it began on."""
        return [
            journal
            for number, hosts in enumerate(self._prepared.hosts)
            for index in range(len(hosts))
            if (journal := self._journal(number, index)).has_begun
        ]

    def _finish(self, ended: PlaybookResult) -> None:
        """The record goes, unless --resume or --undo must still find it."""
        stuck = any(report.result == "stuck" for report in ended.hosts)
        # A signal may have come before a host that an earlier process had begun.
        if self._folder is not None and not stuck and all(each.is_over for each in self.begun()):
            self._folder.finish()

    def all_plays(self, *, undo: bool = False) -> PlaybookResult:
        """The newest first if they are taken back."""
        names = self._prepared.names()
        self._listener.begins(names)
        reports: _Reports = {}
        numbers = range(len(self._prepared.playbook.plays))
        for number in reversed(numbers) if undo else numbers:
            jobs = self._undo_jobs(number) if undo else self._jobs(number, reports)
            # Once a signal has come, the pool begins nothing more.
            ended = self._pool.run(dict(jobs), self._prepared.request.jobs)
            for name, report in ended.items():
                reports.setdefault(name, []).append(report)
        hosts = tuple(merge_reports(name, reports[name]) for name in names if name in reports)
        result = PlaybookResult(hosts, stopped=self._pool.stopping and len(hosts) < len(names))
        self._finish(result)
        return result

    def _jobs(self, number: int, reports: _Reports) -> Iterator[tuple[str, Work]]:
        for index, host in enumerate(self._prepared.hosts[number]):
            before = reports.get(host.name, [])
            # As with Ansible, a host that failed is left out of all later plays.
            if not any(report.code for report in before):
                # What it has registered in its earlier plays.
                facts = before[-1].facts if before else {}
                yield host.name, partial(self._work, number, index, facts, HostRun.run)

    def _undo_jobs(self, number: int) -> Iterator[tuple[str, Work]]:
        for index, host in enumerate(self._prepared.hosts[number]):
            journal = self._journal(number, index)
            # A play that is over on a host has removed its snapshots there.
            if journal.has_begun and not journal.is_over:
                yield host.name, partial(self._work, number, index, {}, HostRun.undo)

    def _journal(self, play: int, index: int) -> PlayJournal:
        assert self._folder is not None
        return PlayJournal(self._folder.journal(play, index))

    def _work(
        self,
        play: int,
        index: int,
        facts: Mapping[str, object],
        action: Callable[[HostRun], HostReport],
        emit: Callable[[Event], None],
        stop: StopRequest,
    ) -> HostReport:
        """Called in the host's own process; what it returns comes back as an event."""
        journal = self._journal(play, index) if self._folder is not None else None
        host = self._prepared.hosts[play][index]
        try:
            if journal is not None and (ended := journal.end_report()) is not None:
                return ended if journal.is_over else settle(journal, ended, self._run, play)
            context = self._prepared.context(play, host)
            return action(HostRun(context, facts, journal, self._run, emit, stop))
        except GrowdiskError as error:  # outside of any task, for example by a file of variables
            if journal is None or not journal.has_begun:
                raise
            return cannot_go_on(host.name, f"{error.what}: {error.why}")


def _description(request: Request, prepared: _Prepared) -> dict[str, object]:
    return asdict(request) | {
        "playbook": str(request.playbook.resolve()),
        "digest": _digest(request.playbook),
        # Relative paths in playbook and inventory count from here.
        "folder": str(Path.cwd()),
        "tags": sorted(request.tags),
        "skip_tags": sorted(request.skip_tags),
        "hosts": [[host.name for host in hosts] for hosts in prepared.hosts],
        "images": [str(image) for image in prepared.images],
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(read_given(path, "check the path")).hexdigest()

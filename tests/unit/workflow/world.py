"""A world that can be crashed at every write: a disk of words, its snapshots, a journal.

All that is in `Storage` survives a crash; every change of it counts as one write, and the n-th
write kills the machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from growdisk.errors import OperationFailed
from growdisk.workflow.engine import Engine
from growdisk.workflow.journal import Event, Journal, JournalRecord
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Ready


class Crash(BaseException):
    """The machine died."""


@dataclass
class Storage:
    words: list[str] = field(default_factory=lambda: ["start"])
    snapshots: dict[str, list[str]] = field(default_factory=dict)
    records: list[JournalRecord] = field(default_factory=list)
    writes_left: int | None = None
    final: list[str] = field(default_factory=lambda: ["start"])

    def write(self) -> None:
        """To be called before each change."""
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise Crash
            self.writes_left -= 1


class FakeJournal(Journal):
    def __init__(self, storage: Storage) -> None:
        self.storage, self.records = storage, storage.records

    def append(self, record: JournalRecord) -> None:
        self.storage.write()
        self.storage.records.append(record)


@dataclass
class FakeSnapshots:
    storage: Storage
    broken: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    can_restore: bool = True
    in_use: bool = False

    def is_in_use(self) -> bool:
        return self.in_use

    def take(self, step: str) -> None:
        if step not in self.storage.snapshots:
            self.storage.write()
            self.storage.snapshots[step] = list(self.storage.words)

    def refuse_missing(self, step: str) -> None: ...

    def restore(self, step: str) -> None:
        if step in self.broken:
            raise OperationFailed
        self.storage.write()
        self.storage.words = list(self.storage.snapshots[step])
        for later in [
            name
            for name in self.storage.snapshots
            if self.order.index(name) > self.order.index(step)
        ]:
            self.storage.write()
            del self.storage.snapshots[later]

    def reserve(self) -> None: ...

    def keep(self) -> None:
        self._make_final()

    def commit(self) -> None:
        self._make_final()
        self.discard()

    def discard(self) -> None:
        for name in list(self.storage.snapshots):
            self.storage.write()
            del self.storage.snapshots[name]

    def _make_final(self) -> None:
        self.storage.write()
        self.storage.final = list(self.storage.words)


@dataclass(frozen=True)
class FakeStep:
    """Writes two words, so that a crash can leave half of it."""

    name: str
    fails: bool = False

    def describe(self) -> str:
        return f"write {self.name}"

    def check(self, context: Storage) -> Check:
        if f"{self.name}.2" in context.words:
            return AlreadyDone("both words are there")
        assert f"{self.name}.1" not in context.words, "half of the step was left behind"
        return Ready()

    def apply(self, context: Storage) -> Evidence:
        context.write()
        context.words.append(f"{self.name}.1")
        if self.fails:
            raise OperationFailed
        context.write()
        context.words.append(f"{self.name}.2")
        return Evidence("two words", {"words": len(context.words)})

    def verify(self, context: Storage, evidence: Evidence) -> None:
        assert context.words[-2:] == [f"{self.name}.1", f"{self.name}.2"]
        assert evidence.facts["words"] == len(context.words)


@dataclass(frozen=True)
class RepeatableStep(FakeStep):
    """Applied again it does the rest, as the steps of running guests do."""

    def check(self, context: Storage) -> Check:
        return AlreadyDone("both words are there") if f"{self.name}.2" in context.words else Ready()

    def apply(self, context: Storage) -> Evidence:
        for word in (f"{self.name}.1", f"{self.name}.2"):
            if word not in context.words:
                context.write()
                context.words.append(word)
            if self.fails:
                raise OperationFailed
        return Evidence("two words", {"words": len(context.words)})

    def verify(self, context: Storage, evidence: Evidence) -> None:
        assert {f"{self.name}.1", f"{self.name}.2"} <= set(context.words)


class Silent:
    def step_started(self, number: int, total: int, name: str, description: str) -> None: ...

    def step_said(self, line: str) -> None: ...

    def step_ended(self, name: str, state: str, seconds: float, detail: str) -> None: ...


NAMES = ("a", "b", "c")
ALL_DONE = ["start"] + [f"{name}.{half}" for name in NAMES for half in (1, 2)]


def engine(
    storage: Storage,
    *,
    failing: str = "",
    keep: bool = False,
    broken: frozenset[str] = frozenset(),
    reversible: bool = True,
    in_place: bool = False,
) -> Engine:
    kind = RepeatableStep if in_place else FakeStep
    steps = [kind(name, fails=name == failing) for name in NAMES]
    snapshots = FakeSnapshots(storage, broken, NAMES, reversible)
    return Engine(
        steps,
        storage,
        snapshots,
        FakeJournal(storage),
        Silent(),
        keep=keep,
        again_in_place=in_place,
    )


def begin(storage: Storage) -> None:
    storage.records.append(JournalRecord(Event.BEGIN))

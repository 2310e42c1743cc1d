"""All that growdisk image does, called on one hostile image after the other.

Each verb has to end in an answer or in a GrowdiskError; `Bench.try_all` says where one did not,
took too long or too much memory, changed an image that it refused, or made a sound one unsound.
"""

from __future__ import annotations

import json
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.api.images.checking import check_image
from growdisk.api.images.compacting import compact_image
from growdisk.api.images.comparing import compare_images
from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.guest_bytes import read_bytes, write_bytes
from growdisk.api.images.info import image_info
from growdisk.api.images.layers import commit_overlay, rebase_overlay, rebase_unsafe
from growdisk.api.images.mapping import image_map
from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.errors import GrowdiskError, Refused
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from growdisk.units import SizeSpec
from tests.fuzz.mutants import Mutant
from tests.fuzz.seeds import Seed

# bytes of a guest that are converted; a hole of 2^60 bytes would take its time in any program
MAX_GUEST = 4 << 20
SECONDS = 5.0
Change = Callable[[], object]


#: What no verb of the command line does: what they refuse half-way is told to a guest as an I/O
#: error.
LIBRARY_CALLS = ("zero", "discard")


class TooLong(BaseException):
    """A verb did not end in time. Not an Exception: nobody is to catch it on the way."""


class Bench:
    """A directory with one image, to which mutants are written and all verbs are done."""

    def __init__(self, seed: Seed, directory: Path, *, seconds: float = SECONDS) -> None:
        self.seed, self.seconds = seed, seconds
        self.path = directory / f"{seed.name}.qcow2"
        self.other = directory / "other.raw"
        self.output = directory / "output"
        self.patch = directory / "patch"
        self.other.write_bytes(bytes(1 << 16))
        self.patch.write_bytes(b"\x5a" * 5000)
        self._restore_beside()

    def try_all(self, mutant: Mutant, chosen: int = -1) -> list[str]:
        """What went wrong; each line begins with the name of the verb.

        `chosen`: a bit for each, all by default.
        """
        mutant.write(self.path, self.seed)
        before, faults = self._bytes(), []
        for name, action in _chosen(self.readers(), chosen):
            faults += self._try(name, action)[0]
        if self._bytes() != before:
            faults.append("readers: the image was changed")
            mutant.write(self.path, self.seed)
        sound = self._errors() == []
        for name, action in _chosen(self.writers(), chosen >> 8):
            found, error = self._try(name, action)
            faults += found
            if error is None:
                faults += self._after_success(name, sound=sound)
                mutant.write(self.path, self.seed)
                self._restore_beside()
            elif self._bytes() != before:
                if (
                    isinstance(error, Refused)
                    and name not in LIBRARY_CALLS
                    and not is_dirty(before[1])
                ):
                    faults.append(f"{name}: changed what it refused ({error})")
                mutant.write(self.path, self.seed)
        return faults

    # --- the verbs --------------------------------------------------------------------------------

    def readers(self) -> Iterator[tuple[str, Change]]:
        path, key = self.path, self.seed.key
        yield "info", lambda: image_info(path).as_json()
        yield "check", lambda: check_image(path)
        size = self._guest_size()
        if size is None:
            return
        yield "map", lambda: [json.loads(record.json_text()) for record in image_map(path)]
        yield "read", lambda: read_bytes(path, 0, min(size, MAX_GUEST), self.output, key=key)
        yield (
            "read end",
            lambda: read_bytes(path, max(size - 70000, 0), min(size, 70000), self.output, key=key),
        )
        if size <= MAX_GUEST:
            yield "compare", lambda: compare_images(path, self.other, ("qcow2", "raw"))
            yield "convert", lambda: self._convert(Source(path, key=key), RawTarget())
        for snapshot in self._snapshots():
            if snapshot[1] <= MAX_GUEST:
                source = Source(path, snapshot=snapshot[0], selector="id", key=key)
                yield (
                    "convert snapshot",
                    lambda source=source: self._convert(source, Qcow2Target(CreateOptions())),
                )

    def writers(self) -> Iterator[tuple[str, Change]]:
        path, key, size = self.path, self.seed.key, self._guest_size()
        yield "repair leaks", lambda: check_image(path, "leaks")
        yield "repair all", lambda: check_image(path, "all")
        if size is None:
            return
        yield "grow", lambda: resize_image(path, SizeSpec(1 << 20, relative=True))
        yield "shrink", lambda: resize_image(path, SizeSpec(32768, relative=False), shrink=True)
        yield "write", lambda: write_bytes(path, 3000, self.patch, key=key)
        yield "zero", lambda: self._open_and("write_zeros", 4096, min(60000, size - 4096))
        yield "discard", lambda: self._open_and("discard", 0, min(16384, size))
        yield "create snapshot", lambda: create_snapshot(path, "new")
        for snapshot in self._snapshots():
            yield "apply snapshot", lambda name=snapshot[0]: apply_snapshot(path, name, "id")
            yield "delete snapshot", lambda name=snapshot[0]: delete_snapshot(path, name, "id")
        if size <= MAX_GUEST:
            yield "compact", lambda: compact_image(path)
            yield "rebase", lambda: rebase_overlay(path, None, None, _quiet)
            yield "commit", lambda: commit_overlay(path, _quiet)
        yield "unsafe rebase", lambda: rebase_unsafe(path, "other.raw", "raw")

    def _convert(self, source: Source, target: RawTarget | Qcow2Target) -> None:
        self.output.unlink(missing_ok=True)
        convert_image(source, self.output, target, _quiet)

    def _open_and(self, action: str, offset: int, length: int) -> None:
        with Qcow2Image.open(self.path, writable=True, key=self.seed.key) as image:
            if 0 < length <= image.size - offset:
                getattr(image, action)(offset, length)
                image.flush()

    # --- judging ----------------------------------------------------------------------------------

    def _try(self, name: str, action: Change) -> tuple[list[str], GrowdiskError | None]:
        """What is wrong with how it ended, and the error that it ended in."""
        try:
            with time_limit(self.seconds):
                action()
        except GrowdiskError as error:
            return ([] if error.what else [f"{name}: an error without words"]), error
        except TooLong:
            where = traceback.format_exc(limit=-4)
            return [f"{name}: longer than {self.seconds} s {where}"], None
        except Exception:
            return [f"{name}: {traceback.format_exc(limit=-4)}"], None
        return [], None

    def _after_success(self, name: str, *, sound: bool) -> list[str]:
        if not sound:
            return []
        errors = self._errors()
        return (
            [f"{name}: made a sound image unsound: {errors[:3]}"]
            if errors or errors is None
            else []
        )

    def _errors(self) -> list[str] | None:
        """What a check finds beyond leaks; None if it cannot be checked.

        A table that was counted too high makes its clusters seem shared, so that a COPIED flag may
        be missing for good.
        """
        try:
            report = check_image(self.path)
        except Exception:
            return None
        if report is None:
            return None  # noise in the magic: it is a raw image now
        harmless = ("leaked", "...")
        return [
            line
            for line in report.problems
            if not line.startswith(harmless) and "COPIED is missing" not in line
        ]

    def _guest_size(self) -> int | None:
        try:
            return image_info(self.path).virtual_size
        except Exception:
            return None

    def _snapshots(self) -> list[tuple[str, int]]:
        """(id, size) of the first snapshots."""
        try:
            entries = image_info(self.path).snapshots[:2]
        except Exception:
            return []
        return [(entry.id, entry.disk_size(0)) for entry in entries]

    def _bytes(self) -> tuple[int, bytes]:
        """The file's length and all that the seed's bytes may have become.

        A hole after them stays one.
        """
        with self.path.open("rb") as file:
            data = file.read(len(self.seed.image) + (1 << 16))
        return self.path.stat().st_size, data

    def _restore_beside(self) -> None:
        for name, data in self.seed.beside.items():
            (self.path.parent / name).write_bytes(data)


def _chosen(actions: Iterator[tuple[str, Change]], bits: int) -> Iterator[tuple[str, Change]]:
    return (action for number, action in enumerate(actions) if bits >> number & 1)


def is_dirty(image: bytes) -> bool:
    """Whether every writer repairs it first, and may refuse its own action afterwards."""
    return image[4:8] == b"\0\0\0\3" and bool(image[79] & 1)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _quiet(_done: int, _total: int) -> None:
    pass

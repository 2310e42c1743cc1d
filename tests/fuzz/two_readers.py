"""One image, two readers: what growdisk and qemu-img report, and where they differ.

A reader may refuse. What both read has to be the same: bytes, facts, map. What a check calls clean
has to be readable for both.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import TypeVar

from growdisk.api.images.checking import check_image
from growdisk.api.images.converting import RawTarget, Source, convert_image
from growdisk.api.images.info import image_info
from growdisk.api.images.mapping import image_map
from growdisk.errors import GrowdiskError
from tests.fuzz.headers import DECOYS
from tests.fuzz.mutants import Mutant
from tests.fuzz.seeds import Seed
from tests.fuzz.verbs import MAX_GUEST, SECONDS, TooLong, time_limit

Answer = TypeVar("Answer")
_OF_THE_HOST = ("actual-size", "filename")  # what an image does not say of itself
_SECONDS = 10.0


class TwoReaders:
    """A directory with one image, to which mutants are written, and which both readers read."""

    def __init__(self, seed: Seed, directory: Path) -> None:
        self._seed, self._directory = seed, directory
        self._image = Path(f"{seed.name}.qcow2")
        for name, data in (DECOYS | seed.beside).items():
            (directory / name).write_bytes(data)

    def differences(self, mutant: Mutant) -> list[str]:
        """Where the two contradict each other, a line each. Both run in the image's directory."""
        mutant.write(self._directory / self._image, self._seed)
        with chdir(self._directory):
            return [f"{mutant.name}\n  {line}" for line in self._differences()]

    def _differences(self) -> list[str]:
        ours = self._ours(lambda: image_info(self._image))
        if ours is None or ours.virtual_size > MAX_GUEST:
            return []
        found = self._compare("info", _facts(ours.as_json()), self._their_facts())
        if ours.header is not None and not ours.header.crypt_method:
            maps = {"growdisk": self._ours(self._our_map), "qemu-img": self._their_map()}
            found += self._compare("map", maps["growdisk"], maps["qemu-img"])
            found += self._compare(
                "content",
                self._ours(lambda: self._our_content(Source(self._image))),
                self._their_content(),
            )
            for entry in ours.snapshots[:2]:
                # of one with another size QEMU shows no more than that
                if entry.disk_size(0) == ours.virtual_size:
                    found += self._compare(f"snapshot {entry.id!r}", *self._snapshot(entry.id))
            if self._ours(self._is_clean):
                found += [
                    f"check calls clean what {who} cannot open"
                    for who, seen in maps.items()
                    if seen is None
                ]
        return found

    def _snapshot(self, ident: str) -> tuple[bytes | None, bytes | None]:
        """What both show of the snapshot of this id."""
        theirs = (
            None if "," in ident or not ident else self._their_content("-l", f"snapshot.id={ident}")
        )
        return self._ours(
            lambda: self._our_content(Source(self._image, snapshot=ident, selector="id"))
        ), theirs

    # --- growdisk ---------------------------------------------------------------------------------

    def _ours(self, action: Callable[[], Answer]) -> Answer | None:
        """The answer, or None for a refusal."""
        try:
            with time_limit(SECONDS):
                return action()
        except GrowdiskError:
            return None
        except TooLong:
            raise AssertionError(f"{self._image}: longer than {SECONDS} s") from None

    def _our_content(self, source: Source) -> bytes:
        Path("ours").unlink(missing_ok=True)
        convert_image(source, Path("ours"), RawTarget(), lambda _done, _total: None)
        return Path("ours").read_bytes()

    def _our_map(self) -> object:
        return [json.loads(record.json_text()) for record in image_map(self._image)]

    def _is_clean(self) -> bool:
        report = check_image(self._image)
        # a missing backing file is noted
        return report is not None and report.is_clean and not report.problems

    # --- qemu-img ---------------------------------------------------------------------------------

    def _theirs(self, *words: str | Path) -> str | None:
        """Its output, or None for a refusal; some images it reads for ever."""
        try:
            answer = subprocess.run(
                ["qemu-img", *words], capture_output=True, text=True, errors="surrogateescape",
                timeout=_SECONDS,
                check=True, env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return None
        return answer.stdout

    def _their_facts(self) -> object:
        answer = self._theirs("info", "--output=json", self._image)
        return None if answer is None else _facts(json.loads(answer))

    def _their_content(self, *words: str) -> bytes | None:
        Path("theirs").unlink(missing_ok=True)
        answer = self._theirs("convert", "-O", "raw", *words, self._image, "theirs")
        return None if answer is None else Path("theirs").read_bytes()

    def _their_map(self) -> object:
        answer = self._theirs("map", "--output=json", self._image)
        return None if answer is None else json.loads(answer)

    @staticmethod
    def _compare(what: str, ours: object, theirs: object) -> list[str]:
        if ours is None or theirs is None or ours == theirs:
            return []
        if isinstance(ours, dict) and isinstance(theirs, dict):
            keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
            return [f"{what}, {key}: {ours.get(key)}, qemu-img: {theirs.get(key)}" for key in keys]
        if isinstance(ours, bytes) and isinstance(theirs, bytes):
            return [
                (
                    f"{what}: {len(ours)} bytes {ours[:4].hex()}..., qemu-img: {len(theirs)} bytes "
                    f"{theirs[:4].hex()}..."
                )
            ]
        return [f"{what}: {ours}\n  qemu-img: {theirs}"]


def _facts(document: dict[str, object]) -> dict[str, object]:
    """What an image reports, with bytes that are not text, and huge numbers, made comparable."""

    def alike(value: object) -> object:
        if isinstance(value, dict):
            return {key: alike(other) for key, other in value.items()}
        if isinstance(value, list):
            return [alike(other) for other in value]
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return value % (1 << 64) if type(value) is int else value

    return {key: alike(value) for key, value in document.items() if key not in _OF_THE_HOST}

"""Guests that take minutes to build are built once per recipe and kept outside the repository.

Two test processes may ask at once: the second waits for the first's lock and finds the work done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Builder = Callable[[Path], object]


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "growdisk" / "guests"


def recipe_hash(sources: Sequence[Path], extra: str = "") -> str:
    """What the guest is made from, as a name: any edit of its recipe makes another guest."""
    digest = hashlib.sha256(extra.encode())
    for source in sorted(sources):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def cached(key: str, build: Builder) -> Path:
    """The folder of the guest named `key`; `build` fills it when it is not there yet."""
    finished = cache_root() / key
    if finished.is_dir():
        return finished
    cache_root().mkdir(parents=True, exist_ok=True)
    with _locked(cache_root() / f"{key}.lock"):
        if not finished.is_dir():
            _build_beside(finished, build)
    return finished


def _build_beside(finished: Path, build: Builder) -> None:
    """Build under another name, so that a folder with the right name is always a whole one."""
    growing = finished.with_name(finished.name + ".building")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir()
    try:
        build(growing)
        growing.rename(finished)
    finally:
        shutil.rmtree(growing, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

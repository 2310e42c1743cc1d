"""The time that is written into guests: the host's, or a fixed one for reproducible bytes.

A context variable: several images may be worked on in threads of one process, each with a time of
its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_fixed: ContextVar[int | None] = ContextVar("fixed", default=None)


def now() -> int:
    """Seconds since 1970."""
    fixed = _fixed.get()
    return int(time.time()) if fixed is None else fixed


@contextmanager
def fixed_at(seconds: int | None) -> Iterator[None]:
    """Inside, it always is `seconds`; None: the host's time."""
    token = _fixed.set(seconds)
    try:
        yield
    finally:
        _fixed.reset(token)


def fixed_time_variables() -> Mapping[str, str]:
    """The variables by which e2fsprogs takes the fixed time."""
    fixed = _fixed.get()
    return {} if fixed is None else {"E2FSPROGS_FAKE_TIME": str(fixed), "E2FSCK_TIME": str(fixed)}

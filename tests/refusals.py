"""Errors by their ids: most kinds have no class of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from growdisk.errors import GrowdiskError, error_id


@contextmanager
def raises(id: str, match: str | None = None) -> Iterator[pytest.ExceptionInfo[GrowdiskError]]:
    """As pytest.raises."""
    with pytest.raises(GrowdiskError, match=match) as caught:
        yield caught
    assert error_id(caught.value) == id

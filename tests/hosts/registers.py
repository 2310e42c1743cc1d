"""Hosts of their own on processors with AMX, whose registers are too wide for the user-mode kernel.

growdisk starts that kernel in a way that costs its programs AVX (backends/uml_registers.py), which
a QEMU or a Ceph in there does not know. In these hosts a library keeps all of their registers
instead.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from growdisk.backends import uml, uml_registers
from growdisk.host.sandbox import confined_kernel
from tests.guests.cache import cached, recipe_hash
from tests.guests.tools import run

_SOURCE = Path(__file__).with_suffix(".c")
_LIBRARY = "registers.so"


@contextmanager
def all_registers() -> Iterator[None]:
    """Inside, what launch() starts keeps them."""
    if not uml_registers.too_wide():
        yield
        return
    library = cached(f"registers-{recipe_hash([_SOURCE])[:20]}", _build) / _LIBRARY

    def with_library(
        argv: list[str], disks: dict[str, Path], exchange: Path, *rest: Path, **more: int
    ) -> list[str]:
        shutil.copy(library, exchange / _LIBRARY)
        return confined_kernel(
            ["env", f"LD_PRELOAD=/exchange/{_LIBRARY}", *argv], disks, exchange, *rest, **more
        )

    with (
        patch.object(uml_registers, "too_wide", return_value=False),
        patch.object(uml, "confined_kernel", with_library),
    ):
        yield


def _build(folder: Path) -> None:
    run("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", folder / _LIBRARY, _SOURCE)

"""Headers at the border of what is allowed: growdisk and QEMU agree, or one refuses.

`HEADERS=2000 HEADERS_FROM=7 pytest tests/fuzz/test_headers.py` looks closer, `make fuzz-headers`
for as long as it may.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fuzz.headers import header_mutants
from tests.fuzz.seeds import RECIPES, make_seed
from tests.fuzz.two_readers import TwoReaders

COUNT = int(os.environ.get("HEADERS", "40"))
ORDER = int(os.environ.get("HEADERS_FROM", "0"))


@pytest.mark.parametrize("name", RECIPES)
def test_two_readers_see_the_same_in_a_strange_header(name: str, tmp_path: Path) -> None:
    (maker := tmp_path / "maker").mkdir()
    (work := tmp_path / "work").mkdir()
    seed = make_seed(name, maker)
    readers = TwoReaders(seed, work)
    differences = [
        line
        for mutant in header_mutants(seed, COUNT, ORDER)
        for line in readers.differences(mutant)
    ]
    assert not differences, "\n".join(differences[:10])

"""Looks for headers that growdisk and QEMU read differently: `make fuzz-headers`.

Or python -m tests.fuzz.fuzz_headers. Every difference is reported with the names by which
tests/fuzz/test_headers.py finds it again; one is enough to fail.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.headers import header_mutants
from tests.fuzz.seeds import RECIPES, make_seed
from tests.fuzz.two_readers import TwoReaders

_AT_ONCE = 50  # headers of one seed before the next one's turn


def main(seconds: float, first: int) -> int:
    """Try all seeds in turn, in random orders from number `first` on, until the time is over."""
    end, looked_at = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory(
        prefix="growdisk-headers-", dir=_fast_directory()
    ) as directory:
        readers = {}
        for name in RECIPES:
            (maker := Path(directory) / name / "maker").mkdir(parents=True)
            (work := Path(directory) / name / "work").mkdir()
            seed = make_seed(name, maker)
            readers[name] = seed, TwoReaders(seed, work)
        for number in itertools.count(first):
            for seed, both in readers.values():
                for mutant in header_mutants(seed, _AT_ONCE, number):
                    if time.monotonic() > end:
                        sys.stdout.write(
                            f"{looked_at} headers, orders {first} to {number}: no difference\n"
                        )
                        return 0
                    looked_at += 1
                    if differences := both.differences(mutant):
                        sys.stdout.write(
                            "\n".join(
                                (f"HEADERS={_AT_ONCE} HEADERS_FROM={number}", *differences, "")
                            )
                        )
                        return 1
    return 0


def _fast_directory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())))

"""Coverage-guided fuzzing of the image engine: `make fuzz`, or this module with a corpus.

`python -m tests.fuzz.fuzz CORPUS [libFuzzer options]`

An input chooses a seed, a few fields and their values, and the verbs that then work on the image;
so each of its bytes matters, and what reaches new code is kept in the corpus. A fault ends the run;
libFuzzer keeps the input as crash-*.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from pathlib import Path

import atheris

MEMORY_MB = 2048  # of the whole process: what is instrumented, the corpus, and 400 MiB for a verb

with atheris.instrument_imports(
    include=["growdisk.qcow2", "growdisk.api.images", "growdisk.block"]
):
    from tests.fuzz.mutants import Field, Mutant, fields_of, structure_offsets
    from tests.fuzz.seeds import RECIPES, Seed, make_seed
    from tests.fuzz.verbs import Bench

_LENGTHS = (1 << 20, 1 << 32, 1 << 44, 1 << 56)


class Target:
    """One seed, ready to be changed."""

    def __init__(self, seed: Seed, directory: Path) -> None:
        self._seed, self._bench = seed, Bench(seed, directory, seconds=20.0)
        self._fields, self._places = list(fields_of(seed)), structure_offsets(seed)

    def run(self, data: atheris.FuzzedDataProvider) -> None:
        mutant = self._mutant(data)
        faults = self._bench.try_all(mutant, chosen=data.ConsumeInt(4))
        if faults:
            raise AssertionError("\n".join([mutant.name, *faults]))

    def _mutant(self, data: atheris.FuzzedDataProvider) -> Mutant:
        patches, names = [], []
        for _ in range(data.ConsumeIntInRange(1, 6)):
            field = data.PickValueInList(self._fields)
            value = self._value(field, data) & (1 << 8 * field.width) - 1
            patches.append((field.offset, value.to_bytes(field.width, "big")))
            names.append(f"{field.name}={value:#x}")
        length = None
        if data.ConsumeIntInRange(0, 7) == 0:
            length = data.PickValueInList(
                [*_LENGTHS, *self._places, data.ConsumeIntInRange(0, len(self._seed.image))]
            )
        return Mutant(
            f"{self._seed.name}: {', '.join(names)}, length {length}", tuple(patches), length
        )

    def _value(self, field: Field, data: atheris.FuzzedDataProvider) -> int:
        """Any number, one near the old one, one bit turned, or the place of a table."""
        old = int.from_bytes(self._seed.image[field.offset : field.offset + field.width], "big")
        match data.ConsumeIntInRange(0, 4):
            case 0:
                return data.ConsumeUInt(field.width)
            case 1:
                return old + data.ConsumeIntInRange(-600, 600)
            case 2:
                return old ^ 1 << data.ConsumeIntInRange(0, 8 * field.width - 1)
            case 3:
                return data.PickValueInList(self._places) | old & 1 << 63
            case _:
                return data.PickValueInList(self._places) + data.ConsumeIntInRange(0, 1024)


def main() -> None:
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="growdisk-fuzz-", dir=shared) as scratch:
        targets = []
        for name in RECIPES:
            (maker := Path(scratch, f"make-{name}")).mkdir()
            (work := Path(scratch, name)).mkdir()
            targets.append(Target(make_seed(name, maker), work))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, resource.RLIM_INFINITY))

        def one_input(raw: bytes) -> None:
            data = atheris.FuzzedDataProvider(raw)
            data.PickValueInList(targets).run(data)

        # The verbs ring their own alarm.
        atheris.Setup([*sys.argv, "-timeout=3600", "-max_len=256", "-len_control=0"], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Whether two ranges are the same, told in steps: against what a comparison of all bytes says."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest

from growdisk.api.images.pump import are_alike
from growdisk.block.device import Part, fill
from growdisk.block.raw import RawFile

_SIZE = 1 << 20
BUFFERS = bytearray(_SIZE), bytearray(_SIZE)


def cut(chooser: random.Random, file: RawFile, place: int, zeros: tuple[int, int]) -> list[Part]:
    """The file's bytes from `place` as parts of a disk, cut at random, its zeros as a hole."""
    edges = {0, *zeros, _SIZE, *(chooser.randrange(_SIZE) for _ in range(chooser.randrange(6)))}
    parts, ordered = [], sorted(edges)
    for start, end in pairwise(ordered):
        if zeros[0] <= start and end <= zeros[1] and chooser.random() < 0.8:
            parts.append(Part(start, end))
        else:
            (part,) = file.parts(place + start, end - start)
            parts.append(part.moved(-place))
    return parts


@pytest.mark.parametrize("seed", range(40))
def test_it_says_what_comparing_all_bytes_says(tmp_path: Path, seed: int):
    chooser = random.Random(seed)
    content = bytearray(chooser.randbytes(_SIZE))
    hole = sorted(chooser.randrange(_SIZE) for _ in range(2))
    content[hole[0] : hole[1]] = bytes(hole[1] - hole[0])
    other = bytearray(content)
    changed = chooser.choice([None, 0, _SIZE - 1, chooser.randrange(_SIZE), hole[0]])
    if changed is not None:
        other[changed] ^= 1
    (tmp_path / "one").write_bytes(b"x" * 4096 + content)
    (tmp_path / "other").write_bytes(other)
    with_hole = (hole[0], hole[1])
    theirs = (0, 0) if changed is not None and hole[0] <= changed <= hole[1] else with_hole
    first, second = RawFile.open(tmp_path / "one"), RawFile.open(tmp_path / "other")
    pieces = cut(chooser, first, 4096, with_hole), cut(chooser, second, 0, theirs)
    seen = [bytearray(_SIZE), bytearray(_SIZE)]
    for parts, buffer in zip(pieces, seen, strict=True):
        fill(parts, 0, memoryview(buffer))
    assert seen == [content, other]
    assert [are_alike(*pieces, BUFFERS) for _ in range(2)] == [changed is None] * 2
    first.close()
    second.close()


def test_what_must_be_decompressed_is_not_told():
    decompressed = [Part(0, _SIZE, lambda buffer: None, is_slow=True)]
    assert not are_alike(decompressed, decompressed, BUFFERS)
    assert are_alike([Part(0, _SIZE)], [Part(0, 1), Part(1, _SIZE)], BUFFERS)

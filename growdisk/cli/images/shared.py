"""What the verbs of growdisk image share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import frexp
from pathlib import Path

from growdisk.cli.output import CommandOutput
from growdisk.errors import BadSize
from growdisk.units import parse_size

_ZERO = r"0+(b|B|[kKMGTPE](iB)?)?"


def add_path(
    parser: argparse.ArgumentParser, name: str = "path", *, metavar: str = "IMAGE"
) -> None:
    parser.add_argument(name, type=Path, metavar=metavar, help="the image file")


def add_format(parser: argparse.ArgumentParser) -> None:
    # As the table of options has it, which `growdisk image info` does not load for this one.
    parser.add_argument(
        "-f", "--format", choices=("qcow2", "raw"), help="the image's format; probed if left out"
    )


def position_of(text: str) -> int:
    """An OFFSET, a LENGTH, or the SIZE of something new, in bytes: it may also be 0."""
    # parse_size refuses 0, as no disk is that small; an offset may well be 0.
    if re.fullmatch(_ZERO, text):
        return 0
    size = parse_size(text)
    if size.relative:
        reason = "there is nothing that it could be added to"
        raise BadSize(text, "write 4096b or 64k", reason)
    return size.bytes


def note_rounded(output: CommandOutput, requested: int | None, size: int) -> None:
    """Say it if a disk became larger than was asked, because it has whole sectors."""
    if requested is not None and requested % 512:
        output.note(f"a disk has whole sectors of 512 bytes: {requested} is rounded up to {size}")


def size_of_qemu_img(size: int) -> str:
    """`64 MiB`, `2.19 MiB`: where the text is to read as qemu-img's. All else is format_size."""
    # From 1000 of a unit on the next one is used, not from 1024: three digits are enough then.
    power = max(frexp(size / (1000 / 1024))[1] - 1, 0) // 10
    return f"{size / 1024**power:.3g} {('', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei')[power]}B"


def note_run(path: Path, output: CommandOutput, *, alone: bool = False) -> None:
    """Say of an image that is only read that a run is in the middle of it.

    Or of what it shows, unless the file is read `alone`.
    """
    from growdisk.api.guard import in_a_run

    found = in_a_run(path, alone=alone)
    if found is not None:
        output.note(
            f"{found} has an unfinished run (growdisk status): what is read of it is half done"
        )


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP end a verb as Ctrl-C does: what was half made is removed."""
    import signal

    from growdisk.workflow.stopping import set_handlers

    # It raises KeyboardInterrupt, and so runs every `finally` and context manager on the way out.
    before = set_handlers(signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What the image verbs share: their arguments, sizes in qemu-img's words, and how they end."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
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
        raise BadSize(
            text, reason="there is nothing that it could be added to", hint="write 4096b or 64k"
        )
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


# The -o of create and convert: qemu-img's option names, and `-o help` that lists them.

_QCOW2 = {
    "cluster_size=SIZE": "512 to 2M, a power of two (default: 64k)",
    "compat=0.10|1.1": "version 2 or 3 (default: 1.1)",
    "refcount_bits=N": "1, 2, 4, 8, 16, 32 or 64 (default: 16)",
    "lazy_refcounts=on|off": "refcounts may be written late (default: off)",
    "extended_l2=on|off": "clusters of 32 subclusters (default: off)",
    "compression_type=zlib|zstd": "of compressed clusters (default: zlib)",
    "preallocation=off|metadata|falloc|full": "room that is taken at once (default: off)",
    "data_file=FILE": "guest data go to this file beside the image",
    "data_file_raw=on|off": "that file stays a valid raw image (default: off)",
}
_RAW = {"preallocation=off|falloc|full": "room that is taken at once (default: off)"}
_NAMES = ", ".join(word.partition("=")[0] for word in _QCOW2)


def add_options(parser: argparse.ArgumentParser) -> None:
    from growdisk.cli.declaring import help_of
    from growdisk.planner.option_table import CREATE_OPTIONS

    parser.add_argument(
        "-o",
        dest="options",
        action=_Options,
        default=[],
        metavar="NAME=VALUE,...",
        help=help_of(CREATE_OPTIONS, f"{_NAMES}; raw: preallocation; -o help says more"),
    )


class _Options(argparse.Action):
    """Collects the words of several -o; `help` is answered at once, even if words are missing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        if values in ("help", "?"):
            # print_help raises TextAsked with this text: SRC and DST need not be there.
            parser.format_help = _listing  # type: ignore[method-assign]
            parser.print_help()
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


def _listing() -> str:
    lines = ["-o of a qcow2 image:"]
    lines += [f"  {name:<40}{text}" for name, text in _QCOW2.items()]
    lines.append("-o of a raw image:")
    lines += [f"  {name:<40}{text}" for name, text in _RAW.items()]
    lines.append(
        "Backing file and encryption have options of their own: -b, -F, --encrypt luks, --key-file."
    )
    return "\n".join(lines)


# How a long action of an image verb ends before its end.


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
    """SIGTERM and SIGHUP end what is inside as Ctrl-C does: what was half made is removed."""
    import signal

    ends = (signal.SIGTERM, signal.SIGHUP)
    # It raises KeyboardInterrupt, and so runs every `finally` and context manager on the way out.
    before = [signal.signal(number, signal.default_int_handler) for number in ends]
    try:
        yield
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)

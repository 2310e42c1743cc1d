"""growdisk image map: which layer holds which guest bytes, and where."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain

from growdisk.cli.images.shared import add_format, add_path
from growdisk.cli.output import CommandOutput
from growdisk.cli.terminal_style import printable

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.images.mapping import MapRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    add_format(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.mapping import image_map, image_map_lists

    if output.json_mode:
        with output.working(f"reading the map of {arguments.path.name}"):
            lists = image_map_lists(arguments.path, arguments.format)
        # All of them first: an error half-way must not leave half a JSON document.
        output.records([record.json_text() for records in lists for record in records])
    else:
        output.lines(_lines(image_map(arguments.path, arguments.format)))
    return 0


def _lines(records: Iterator[MapRecord]) -> Iterator[str]:
    """The lines with data, as of qemu-img."""
    # Before the heading: an image that cannot be read raises here, and then no table is begun.
    first = [record for record in (next(records, None),) if record is not None]
    yield f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File"
    for record in chain(first, records):
        if record.data and not record.zero:
            # Compressed and encrypted data have no offset in the file. qemu-img stops at them.
            place = "-" if record.offset is None else _hex(record.offset)
            row = f"{_hex(record.start):<16}{_hex(record.length):<16}{place:<16}"
            yield row + printable(str(record.path))


def _hex(number: int) -> str:
    """As C's %#x, which writes no 0x before 0."""
    return f"{number:#x}" if number else "0"

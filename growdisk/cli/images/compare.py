"""growdisk image compare: exit 0 if two images have the same bytes, 1 if not, 2 if unreadable."""

from __future__ import annotations

import argparse

from growdisk.cli.images.keys import add_key, unlocking
from growdisk.cli.images.shared import add_path, note_run
from growdisk.cli.output import CommandOutput
from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.images.comparing import Comparison

_SAME, _DIFFERENT, _FAILED = 0, 1, 2  # qemu-img's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "first", metavar="A")
    add_path(parser, "second", metavar="B")
    parser.add_argument(
        "-f", "--format", choices=("qcow2", "raw"), help="the format of A (default: probed)"
    )
    parser.add_argument(
        "-F",
        dest="other_format",
        choices=("qcow2", "raw"),
        help="the format of B (default: probed)",
    )
    parser.add_argument(
        "-s", "--strict", action="store_true", help="images of different size are never the same"
    )
    add_key(parser)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.comparing import compare_images

    formats = (arguments.format, arguments.other_format)

    def compare(keys: tuple[bytes, ...]) -> Comparison:
        with output.bar(f"comparing {arguments.first.name}") as progress:
            return compare_images(arguments.first, arguments.second, formats, keys, progress)

    try:
        for path in (arguments.first, arguments.second):
            note_run(path, output)
        found = unlocking(arguments, compare)
    except GrowdiskError as error:
        output.error(error)
        output.document({"error": error_document(error) | {"code": _FAILED}})
        return _FAILED
    if found.sizes_differ:
        output.note(f"the sizes differ: {found.sizes[0]} and {found.sizes[1]} bytes")
    # Without --strict the shorter one counts as if zeros followed: sizes may differ then.
    same = found.offset is None and not (arguments.strict and found.sizes_differ)
    output.document({"identical": same, "offset": found.offset, "sizes": list(found.sizes)})
    if found.offset is not None:
        output.lines([f"Content mismatch at offset {found.offset}!"])
    elif same:
        output.lines(["Images are identical."])
    else:
        output.lines(["The sizes differ, the rest is zeros."])
    return _SAME if same else _DIFFERENT

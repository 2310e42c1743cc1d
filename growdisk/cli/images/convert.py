"""growdisk image convert: what a guest sees of an image, in another format or shape."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.images.keys import add_key, add_new_key, key_for_new, unlocking
from growdisk.cli.images.shared import (
    add_format,
    add_options,
    add_path,
    ended_like_ctrl_c,
    human_size,
    note_run,
)
from growdisk.cli.output import CommandOutput
from growdisk.errors import UsageError, bad_value
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.probe import format_of_name

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.images.converting import Qcow2Target, RawTarget


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "source", metavar="SRC")
    parser.add_argument("path", type=Path, metavar="DST", help="a new file, or a block device")
    add_format(parser)
    parser.add_argument(
        "-O",
        dest="to",
        choices=("qcow2", "raw"),
        help="the new format (default: by the name, .qcow2 or .raw or .img; else raw, but qcow2 "
        "with -c)",
    )
    parser.add_argument("-c", dest="compress", action="store_true", help="compress the clusters")
    parser.add_argument(
        "--compression", choices=("zlib", "zstd"), help="how; the same as -c -o compression_type="
    )
    add_options(parser)
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="threads (default: one per processor)",
    )
    parser.add_argument(
        "-l",
        "--snapshot",
        metavar="SNAPSHOT",
        help="convert this internal snapshot, at its own size",
    )
    parser.add_argument(
        "--keep-snapshots", action="store_true", help="take all internal snapshots of SRC along"
    )
    parser.add_argument(
        "--bitmaps", action="store_true", help="take the persistent dirty bitmaps of SRC along"
    )
    add_key(parser)
    add_new_key(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--id", dest="selector", action="store_const", const="id", help="SNAPSHOT is an id"
    )
    which.add_argument(
        "--name", dest="selector", action="store_const", const="name", help="SNAPSHOT is a name"
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.api.images.converting import Source, convert_image

    target = _target(arguments)
    # An internal snapshot is what it was when it was taken: a run in progress does not touch it.
    if arguments.snapshot is None:
        note_run(arguments.source, output)

    def convert(keys: tuple[bytes, ...]) -> int:
        source = Source(
            arguments.source, arguments.format, arguments.snapshot, arguments.selector, keys
        )
        # Inside: convert() is called again after a passphrase was asked for, with a new bar.
        with ended_like_ctrl_c(), output.bar(f"converting {arguments.source.name}") as progress:
            return convert_image(source, arguments.path, target, progress)

    size = unlocking(arguments, convert)
    # st_blocks counts units of 512 bytes, whatever blocks the file system has.
    host = arguments.path.stat().st_blocks * 512
    output.document(
        {
            "result": "created",
            "filename": str(arguments.path),
            "virtual-size": size,
            "actual-size": host,
        }
    )
    output.note(f"{arguments.path}: {human_size(size)}, {human_size(host)} on the host")
    return 0


def _target(arguments: argparse.Namespace) -> RawTarget | Qcow2Target:
    from growdisk.api.images.converting import Qcow2Target, RawTarget
    from growdisk.api.images.creating import raw_preallocation

    options = ",".join(arguments.options)
    # --compression alone asks for compression as well.
    compress = arguments.compress or arguments.compression is not None
    if arguments.jobs < 0:
        raise bad_value(
            "-j takes a number of threads",
            "-j",
            str(arguments.jobs),
            hint="leave it out for one per processor",
        )
    if _format(arguments.to, arguments.path, compress=compress) == "raw":
        if compress or key_for_new(arguments) is not None:
            raise UsageError("a raw image is neither compressed nor encrypted", hint="add -O qcow2")
        if arguments.bitmaps or arguments.keep_snapshots:
            raise UsageError(
                "a raw image has neither snapshots nor dirty bitmaps", hint="add -O qcow2"
            )
        # A -o that is for qcow2 is refused there.
        return RawTarget(raw_preallocation(options))
    if arguments.compression is not None:
        options += f",compression_type={arguments.compression}"
    return Qcow2Target(
        CreateOptions.parse(options),
        compress,
        arguments.jobs,
        key_for_new(arguments),
        arguments.bitmaps,
        arguments.keep_snapshots,
    )


def _format(requested: str | None, path: Path, *, compress: bool) -> str:
    if requested is not None:
        return requested
    return format_of_name(path) or ("qcow2" if compress else "raw")

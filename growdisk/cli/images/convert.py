"""One image made of another: growdisk image convert, growdisk image copy."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import raw_preallocation
from growdisk.api.images.data_copy import copy_image
from growdisk.api.images.info import actual_size
from growdisk.cli.common_options import add_flag, add_jobs
from growdisk.cli.declaring import declare
from growdisk.cli.images.create import add_options
from growdisk.cli.images.shared import add_format, add_path, ended_like_ctrl_c, note_run
from growdisk.cli.keys import add_key, add_new_key, key_for_new, keys_of
from growdisk.cli.output import CommandOutput
from growdisk.errors import UsageError
from growdisk.planner.option_table import CONVERTING
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.probe import format_of_new
from growdisk.units import format_size


def convert_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "source", metavar="SRC")
    parser.add_argument("path", type=Path, metavar="DST", help="a new file, or a block device")
    add_format(parser)
    by_name = "one without an ending of qcow2, raw or img is raw, but qcow2 with -c"
    declare(parser, CONVERTING["to"], "-O", dest="to", more=by_name)
    declare(parser, CONVERTING["compress"], "-c", dest="compress")
    declare(parser, CONVERTING["compression"], more="the same as -c -o compression_type=")
    add_options(parser)
    add_jobs(parser, "threads (default: one per processor)", default=0, least=0)
    declare(parser, CONVERTING["snapshot"], "-l", metavar="SNAPSHOT")
    declare(parser, CONVERTING["keep_snapshots"])
    add_flag(parser, "--bitmaps", "take the persistent dirty bitmaps of SRC along")
    add_key(parser)
    add_new_key(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--id", dest="selector", action="store_const", const="id", help="SNAPSHOT is an id"
    )
    which.add_argument(
        "--name", dest="selector", action="store_const", const="name", help="SNAPSHOT is a name"
    )


@ended_like_ctrl_c()
def run_convert(arguments: argparse.Namespace, output: CommandOutput) -> int:
    target = _target(arguments)
    # An internal snapshot is what it was when it was taken: a run in progress does not touch it.
    if arguments.snapshot is None:
        note_run(arguments.source, output)

    path, form, keys = arguments.source, arguments.format, keys_of(arguments)
    source = Source(path, form, arguments.snapshot, arguments.selector, keys)
    with output.bar(f"converting {path.name}") as progress:
        size = convert_image(source, arguments.path, target, progress)
    # Named: a raw image may be called .vmdk.
    kind = "raw, " if isinstance(target, RawTarget) else "qcow2, "
    return _created(output, arguments.path, "virtual-size", size, kind)


def _created(output: CommandOutput, path: Path, key: str, size: int, kind: str = "") -> int:
    host = actual_size(path)
    output.document({"result": "created", "filename": str(path), key: size, "actual-size": host})
    output.note(f"{path}: {kind}{format_size(size)}, {format_size(host)} on the host")
    return 0


def copy_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "source", metavar="SRC")
    parser.add_argument("path", type=Path, metavar="DST", help="a new file, or a block device")
    text = "holes stay holes (default), zeros become holes too, or holes become zeros"
    parser.add_argument("--sparse", choices=("auto", "always", "never"), default="auto", help=text)


@ended_like_ctrl_c()
def run_copy(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # The file alone is copied: what lies below it does not matter.
    note_run(arguments.source, output, alone=True)
    with output.bar(f"copying {arguments.source.name}") as progress:
        size = copy_image(arguments.source, arguments.path, arguments.sparse, progress)
    return _created(output, arguments.path, "size", size)


def _target(arguments: argparse.Namespace) -> RawTarget | Qcow2Target:
    options = ",".join(arguments.options)
    # --compression alone asks for compression as well.
    compress = arguments.compress or arguments.compression is not None
    otherwise = "qcow2" if compress else "raw"
    if (arguments.to or format_of_new(arguments.path) or otherwise) == "raw":
        # Before key_for_new, which may ask for a passphrase; without --encrypt it never does.
        if compress or arguments.encrypt:
            raise UsageError("a raw image is neither compressed nor encrypted", hint="add -O qcow2")
        key_for_new(arguments)
        if arguments.bitmaps or arguments.keep_snapshots:
            raise UsageError("a raw image has neither snapshots nor dirty bitmaps", "add -O qcow2")
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

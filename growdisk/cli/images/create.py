"""growdisk image create: a new, empty image, with qemu-img's options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from growdisk.api.images.creating import create_qcow2, create_raw, raw_preallocation
from growdisk.cli.common_options import add_value
from growdisk.cli.declaring import declare, help_of
from growdisk.cli.images.shared import add_path, ended_like_ctrl_c, note_rounded, position_of
from growdisk.cli.keys import add_key, add_new_key, key_for_new
from growdisk.cli.output import CommandOutput
from growdisk.errors import UsageError
from growdisk.planner.option_table import CREATE_OPTIONS, CREATING, FORMAT
from growdisk.qcow2.create_options import CreateOptions, option_words
from growdisk.qcow2.probe import format_of_new, refuse_misleading_name
from growdisk.units import format_size

_BACKING = {"backing_file": "backing", "backing_fmt": "backing_format"}


def create_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, metavar="PATH")
    add_value(parser, "size", "SIZE", "40G (left out: that of the backing file)", nargs="?")
    text = "the new image's format; by its name (.raw, .img) if left out, else qcow2"
    parser.add_argument("-f", "--format", choices=FORMAT.choices, help=text)
    where = "a relative name counts from the new image's folder"
    declare(parser, CREATING["backing"], "-b", type=str, metavar="FILE", more=where)
    declare(parser, CREATING["backing_format"], "-F")
    add_options(parser)
    add_key(parser, "the same as --new-key-file")
    add_new_key(parser)


@ended_like_ctrl_c()
def run_create(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # First: -o backing_file means the same as -b, and speaks against a raw image.
    _take_backing_options(arguments)
    form = _format(arguments)
    # None: as large as the backing file. 0 is a size here.
    requested = position_of(arguments.size) if arguments.size is not None else None
    size = (_raw if form == "raw" else _qcow2)(arguments, requested)
    output.document({"result": "created", "filename": str(arguments.path), "virtual-size": size})
    note_rounded(output, requested, size)
    output.note(f"{arguments.path}: {form}, {format_size(size)}")
    return 0


def _take_backing_options(arguments: argparse.Namespace) -> None:
    """qemu-img's `-o backing_file=NAME,backing_fmt=FORMAT` as -b and -F."""
    kept = []
    for option in option_words(",".join(arguments.options)):
        name, _, value = option.partition("=")
        if name in _BACKING:
            setattr(arguments, _BACKING[name], value)
        else:
            # QEMU's way to write a comma inside a value: joined, and parsed once more.
            kept.append(option.replace(",", ",,"))
    arguments.options = kept


def _format(arguments: argparse.Namespace) -> str:
    """As asked; else by the name (.raw is not qcow2), which must not contradict it."""
    qcow2_only = (
        arguments.backing is not None or arguments.encrypt or arguments.backing_format is not None
    )
    if arguments.format is not None:
        form: str = arguments.format
        refuse_misleading_name(arguments.path, form)
        return form
    named = format_of_new(arguments.path)
    if named == "raw" and qcow2_only:
        problem = f"{arguments.path} is the name of a raw image, which has no such options"
        raise UsageError(problem, "name it .qcow2")
    return named or "qcow2"


def _raw(arguments: argparse.Namespace, size: int | None) -> int:
    if size is None or arguments.backing is not None or arguments.encrypt:
        problem = "a raw image has a SIZE, no backing file and no encryption"
        raise UsageError(problem, "make it qcow2")
    return create_raw(arguments.path, size, raw_preallocation(",".join(arguments.options)))


def _qcow2(arguments: argparse.Namespace, size: int | None) -> int:
    options = CreateOptions.parse(",".join(arguments.options))
    return create_qcow2(
        arguments.path,
        size,
        options,
        arguments.backing,
        arguments.backing_format,
        key_for_new(arguments),
    )


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
    text = help_of(CREATE_OPTIONS, f"{_NAMES}; raw: preallocation; -o help says more")
    add_value(parser, "-o", "NAME=VALUE,...", text, dest="options", action=_Options, default=[])


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

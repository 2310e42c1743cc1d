"""growdisk image: the image engine's own verbs. Only the one that is called is loaded."""

from __future__ import annotations

import argparse
from functools import partial
from importlib import import_module

from growdisk.cli.common_options import add_common

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from growdisk.cli.output import CommandOutput

NAME = "image"
HELP = "make, describe, check, convert and change qcow2 and raw images"

_VERBS = (
    ("info", "show an image's format, sizes and options"),
    ("map", "which layer holds which bytes, and where"),
    ("check", "check an image, and repair it"),
    ("compare", "compare what two images contain"),
    ("create", "a new, empty image"),
    ("resize", "change the virtual size of the image alone (growdisk expand does the whole job)"),
    ("snapshot", "list, create, apply, delete internal snapshots"),
    ("convert", "what a guest sees of an image, in another format or shape"),
    ("copy", "copy a raw image, with its holes"),
    ("overlay", "a new, empty image on top of another"),
    ("commit", "give an overlay's data to its backing file, and empty it"),
    ("rebase", "put an overlay on another backing file"),
    ("compact", "give unused clusters back, keeping snapshots and backing file"),
    ("read", "copy guest bytes into a file"),
    ("write", "copy a file onto guest bytes"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    later = partial(_Later, type(parser))
    verbs = parser.add_subparsers(
        prog=parser.prog, metavar="VERB", required=True, parser_class=later
    )  # type: ignore[call-overload]
    # argparse asks a verb's parser for nothing but parse_known_args, and only that of the verb that
    # is called. All others stay unmade, and their modules unloaded.
    for name, text in _VERBS:
        verbs.add_parser(name, help=text, description=f"{text}.", allow_abbrev=False)


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    raise AssertionError("every verb has its own run()")


class _Later:
    """A verb's parser, made when it is to parse; the verb's own file adds its arguments."""

    def __init__(self, parser_class: type[argparse.ArgumentParser], **options: Any) -> None:
        self._class, self._options = parser_class, options

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return self.made().parse_known_args(args, namespace)

    def made(self) -> argparse.ArgumentParser:
        """The parser itself."""
        parser = self._class(**self._options)
        verb = import_module(f"growdisk.cli.images.{parser.prog.rsplit(' ', 1)[-1]}")
        # These win over `run` and `parser` of growdisk image itself, which are set further out.
        parser.set_defaults(run=verb.run, parser=parser)
        verb.add_arguments(parser)
        # After the verb's own: it may have taken -o.
        add_common(parser, top=False)
        return parser

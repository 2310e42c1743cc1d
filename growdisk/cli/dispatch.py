"""Builds the parser from the verbs, runs the one that is asked for, and shows errors the way the caller wants them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from growdisk import __version__
from growdisk.cli import commit, doctor, expand, plan, resume, rollback, show, status
from growdisk.cli.output import Output, error_document
from growdisk.errors import GrowdiskError, UsageError

_VERBS = (expand, plan, show, status, resume, rollback, commit, doctor)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and exiting, so that --json has its one document here as well."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see {self.prog} --help")


def dispatch(words: Sequence[str]) -> int:
    """Run the command in `words`; every GrowdiskError becomes a message and its exit code."""
    output = Output(json_mode="--json" in words)
    try:
        arguments = _parser().parse_args(words)
        output = Output(json_mode=arguments.json, quiet=arguments.quiet, color=arguments.color)
        _set_up_logging(verbose=arguments.verbose, commands=arguments.commands)
        code: int = arguments.run(arguments, output)
        sys.stdout.flush()
    except GrowdiskError as error:
        output.error(error)
        output.document({"error": error_document(error)})
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="growdisk", description="Grow a virtual machine's disk in place: image, partition and file system.",
        epilog="growdisk COMMAND --help says more. Exit codes: 0 done, 2 usage, 3 refused (nothing touched), "
        "4 failed and restored, 5 needs you.",
    )  # fmt: skip
    parser.add_argument("-V", "--version", action="version", version=f"growdisk {__version__}")
    _add_common(parser, top=True)
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)
    for verb in _VERBS:
        sub = verbs.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        _add_common(sub, top=False)
        verb.add_arguments(sub)
        sub.set_defaults(run=verb.run)
    return parser


def _add_common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    """The same options before and after the command; only the top parser sets their defaults."""
    default = False if top else argparse.SUPPRESS
    parser.add_argument("-v", "--verbose", action="store_true", default=default, help="say more on stderr")
    parser.add_argument("-q", "--quiet", action="store_true", default=default, help="no progress, no notes")
    parser.add_argument(
        "-x", dest="commands", action="store_true", default=default, help="print every external command"
    )
    parser.add_argument("--json", action="store_true", default=default, help="one JSON document on stdout")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto" if top else argparse.SUPPRESS,
        help="colours (default: on a terminal)",
    )  # fmt: skip


def _set_up_logging(*, verbose: bool, commands: bool) -> None:
    if not (verbose or commands):
        return  # warnings reach stderr all the same
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("growdisk.command").setLevel(logging.DEBUG if commands or verbose else logging.WARNING)

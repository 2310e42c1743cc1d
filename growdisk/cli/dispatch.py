"""Builds the parser from the verbs, runs the one that is asked for, and shows errors the way the caller wants them."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

from growdisk import __version__
from growdisk.cli.common_options import add_common
from growdisk.cli.output import AnswerLost, Output, error_document, forget, help_width, prepare_streams
from growdisk.errors import GrowdiskError, Refused, UsageError

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import NoReturn

_VERBS = (
    "expand", "plan", "show", "status", "resume", "rollback", "commit", "script", "run", "provision", "image",
    "collection", "doctor",
)  # fmt: skip
_BUG, _INTERRUPTED = 1, 130


class _TextAsked(Exception):
    """--help or --version: the text is the whole answer."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing and exiting, so that --json has its one document here as well."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        """argparse makes one for each argument, and would load a module for 3 ms to know how wide help may be."""
        return argparse.HelpFormatter(self.prog, width=help_width())

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"see {self.prog} --help")

    def print_help(self, file: object = None) -> None:
        raise _TextAsked(self.format_help())


class _Version(argparse.Action):
    def __call__(self, *_: object, **__: object) -> None:
        raise _TextAsked(f"growdisk {__version__}\n")


def dispatch(words: Sequence[str]) -> int:
    """Run the command in `words`; every error becomes a message, with --json a document, and an exit code."""
    prepare_streams()
    output = Output(json_mode="--json" in itertools.takewhile(lambda word: word != "--", words))
    code = 0
    try:
        code = _answer(words, output)
        output.finish()
    except AnswerLost as lost:
        forget(sys.stdout)
        if not lost.reader_gone:
            output.note(f"growdisk: {lost}")
            return code or _BUG
    return code


def _answer(words: Sequence[str], output: Output) -> int:
    try:
        return _run(words)
    except _TextAsked as asked:
        output.lines(str(asked).splitlines())
        output.document({"text": str(asked)})
        return 0
    except GrowdiskError as error:
        output.error(error)
        refused = {"result": "refused"} if isinstance(error, Refused) else {}
        output.document({**refused, "error": error_document(error)})
        return error.exit_code
    except KeyboardInterrupt:
        output.document({"error": {"what": "interrupted", "why": "", "do": "", "code": _INTERRUPTED}})
        return _INTERRUPTED
    except AnswerLost:
        raise
    except Exception as bug:
        import traceback

        traceback.print_exc()
        output.document({"error": {"what": "growdisk has a bug", "why": repr(bug), "do": "report it", "code": _BUG}})
        return _BUG


def _run(words: Sequence[str]) -> int:
    arguments = _parsed(words)
    output = Output(json_mode=arguments.json, quiet=arguments.quiet, color=arguments.color)
    _set_up_logging(verbose=arguments.verbose, commands=arguments.commands)
    code: int = arguments.run(arguments, output)
    return code


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """argparse takes a SIZE only directly behind the TARGET; it may also stand behind options (`X --swap move +1G`)."""
    parser = _parser(words)
    arguments, left = parser.parse_known_args(words)
    if len(left) == 1 and getattr(arguments, "size", "") is None and left[0].lstrip("+-")[:1].isdigit():
        arguments.size = left.pop()
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return arguments


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="growdisk", description="Grow a virtual machine's disk in place: image, partition and file system.",
        epilog="growdisk COMMAND --help says more. Exit codes: 0 done, 2 usage, 3 refused (nothing touched), "
        "4 failed and restored, 5 needs you.", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version")
    add_common(parser, top=True)
    verbs = parser.add_subparsers(prog=parser.prog, metavar="COMMAND", required=True, parser_class=_Parser)
    for verb in _verbs(words):
        sub = verbs.add_parser(verb.NAME, help=verb.HELP, description=f"{verb.HELP}.", allow_abbrev=False)
        add_common(sub, top=False)
        verb.add_arguments(sub)
        sub.set_defaults(run=verb.run)
    return parser


def _verbs(words: Sequence[str]) -> Iterator[ModuleType]:
    """The verb that is called, or all of them where that is not plain: the others need not be loaded."""
    called = next((word for word in words if not word.startswith("-")), "")
    for name in (called,) if called in _VERBS else _VERBS:
        yield import_module(f"growdisk.cli.{name}")


def _set_up_logging(*, verbose: bool, commands: bool) -> None:
    if not (verbose or commands):
        return  # warnings reach stderr all the same
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("growdisk.command").setLevel(logging.DEBUG)

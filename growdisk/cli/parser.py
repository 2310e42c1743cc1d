"""The parser of the command line, made from the verbs: only the one that is called is loaded.

Errors are raised as UsageError, so that --json has its one document for them as well.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

from growdisk import __version__
from growdisk.cli.common_options import add_common, names_at
from growdisk.cli.output import help_width
from growdisk.errors import UsageError, bad_value

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import NoReturn

VERBS = (
    "expand", "plan", "show", "list", "watch", "status", "resume", "rollback", "commit", "script",
    "run", "provision", "image", "collection", "doctor", "completion",
)  # fmt: skip
# Words of other tools; foreign_words.py is loaded only if one of them is there. Some are growdisk's
# own for other verbs (-d of show, -l of run): the verb decides there.
_FOREIGN = frozenset((
    "-p", "--progress", "-W", "-m", "--num-coroutines", "--output", "-l", "-c", "-a", "-d",
    "--size", "--expand", "--LV-expand", "--lv-expand",
))  # fmt: skip


class TextAsked(Exception):
    """--help or --version: the text is the whole answer."""


class _HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs, and keeps the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # A paragraph that has line breaks of its own is a list or an example.
        parts = text.split("\n\n")
        filled = (
            # super() alone does not work inside a generator.
            part if "\n" in part else super(_HelpFormatter, self)._fill_text(part, width, indent)
            for part in parts
        )
        return "\n\n".join(filled)


class Parser(argparse.ArgumentParser):
    """Raises instead of printing and exiting."""

    def _get_formatter(self) -> argparse.HelpFormatter:
        """The formatter of help texts, with its width."""
        # argparse makes one for each argument. To find the width it would load shutil, for 3 ms.
        return _HelpFormatter(self.prog, width=help_width())

    def format_help(self) -> str:
        """With the command's examples at the end."""
        from growdisk.cli.examples import examples_text

        examples = examples_text(self.prog)
        return super().format_help() + (f"\n{examples}\n" if examples else "")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            from growdisk.cli.foreign_words import unknown_command

            raise unknown_command(self.prog, str(value), action.choices)
        if action.choices is not None and value not in action.choices:
            from growdisk.cli.foreign_words import unknown_value

            raise unknown_value(self.prog, action.option_strings, str(value), action.choices)
        super()._check_value(action, value)

    def _get_value(self, action: argparse.Action, arg_string: str) -> object:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            option = max(action.option_strings, key=len, default="")
            raise bad_value(str(error), option, arg_string, f"{self.prog} --help") from error

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")

    def print_help(self, file: object = None) -> None:
        raise TextAsked(self.format_help())


class _Version(argparse.Action):
    def __call__(self, *_: object, **__: object) -> None:
        raise TextAsked(f"growdisk {__version__}\n")


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command line in growdisk's own words. Raises UsageError, TextAsked."""
    if all(word.startswith("-") for word in words) and not {
        "-h",
        "--help",
        "-V",
        "--version",
    }.intersection(words):
        raise _no_command()
    parser = parser_for(words)
    _refuse_options_first(parser, words)
    arguments, left = parser.parse_known_args(words)
    # argparse settles the optional SIZE together with the TARGET, and so takes one only directly
    # after it: in `X --swap move +1G` it is left over. A verb without a SIZE gives "", not None.
    if (
        len(left) == 1
        and getattr(arguments, "size", "") is None
        and left[0].lstrip("+-")[:1].isdigit()
    ):
        arguments.size = left.pop()
    if left:
        raise _not_understood(arguments, left)
    arguments.words = tuple(words)
    return arguments


def _no_command() -> UsageError:
    return UsageError.named(
        "no-command",
        "{problem}",
        "",
        "growdisk COMMAND --help says more about one",
        {"problem": "no command is given"},
    )


def short_help() -> str:
    """What somebody wants who has typed growdisk alone."""
    return parser_for(()).format_help()


def _refuse_options_first(parser: Parser, words: Sequence[str]) -> None:
    """`growdisk -d web01 expand`: argparse would take web01 for the command."""
    late = next((word for word in words if word in VERBS), None)
    option = words[0].partition("=")[0] if words else ""
    if late is not None and option.startswith("-") and option not in parser._option_string_actions:
        hint = f"growdisk {late} {' '.join(word for word in words if word != late)}"
        raise UsageError(f"the options of {late} stand after it", hint)


def own_words(words: Sequence[str]) -> Sequence[str]:
    """A command line with help, version and the words of other tools as growdisk says them."""
    if _FOREIGN.isdisjoint(word.partition("=")[0] for word in words):
        return _asked_for_help(words)
    from growdisk.cli.foreign_words import accepted

    return _asked_for_help(accepted(words))


def _asked_for_help(words: Sequence[str]) -> Sequence[str]:
    """`growdisk help expand`, `growdisk -h expand` as `growdisk expand --help`."""
    if words[:1] == ["version"]:
        return ["--version"]
    if len(words) > 1 and words[0] in ("help", "-h", "--help"):
        return [*words[1:], "--help"]
    return ["--help"] if words[:1] == ["help"] else words


def _not_understood(arguments: argparse.Namespace, left: Sequence[str]) -> UsageError:
    from growdisk.cli.foreign_words import extra_words, unknown_option

    parser = arguments.parser
    # An unknown option explains the words after it, which were meant as its value.
    option = next((word for word in left if word.startswith("-") and word != "-"), None)
    if option is not None:
        return unknown_option(parser.prog, option, parser._option_string_actions)
    return extra_words(parser.prog, left, getattr(arguments, "size", None))


def parser_for(words: Sequence[str]) -> Parser:
    """The parser for a command line: with the verb that it calls, or all if that is not clear."""
    parser = Parser(
        prog="growdisk",
        description="Grow a virtual machine's disk in place: image, partition and file system.",
        epilog="growdisk COMMAND --help says more. Exit codes: 0 done, 2 usage, 3 refused (nothing "
        "touched), 4 failed and restored, 5 needs you.",
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version")
    add_common(parser, top=True)
    _take_defaults(parser)
    verbs = parser.add_subparsers(
        title="commands",
        description="",
        prog=parser.prog,
        metavar="COMMAND",
        required=True,
        parser_class=Parser,
    )
    # Only the verb that is called is loaded, if that is clear: then argparse knows no others.
    for verb in _verbs(words, parser):
        sub = verbs.add_parser(
            verb.NAME, help=verb.HELP, description=f"{verb.HELP}.", allow_abbrev=False
        )
        sub.set_defaults(run=verb.run, parser=sub)
        verb.add_arguments(sub)
        add_common(sub, top=False)
        _take_defaults(sub)
    # For errors before a verb is known; a verb's own parser takes its place.
    parser.set_defaults(parser=parser)
    return parser


def _take_defaults(parser: argparse.ArgumentParser) -> None:
    """The site's defaults, if it has any: the module that reads them is not loaded otherwise."""
    # The same files as config.config_files has: keep the two alike.
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    files = (
        os.environ.get("GROWDISK_CONFIG", ""),
        "/etc/growdisk.toml",
        f"{home}/growdisk/config.toml",
    )
    if any(map(os.path.exists, files)):
        from growdisk.cli.config import apply

        apply(parser)


def whole_parser() -> Parser:
    """The parser with all commands and verbs of growdisk image, for man pages and completion."""
    parser = parser_for(())
    # Their place is taken by real parsers: shtab and the man pages look at options.
    image = _subparsers(_subparsers(parser)["image"])
    for name, later in list(image.items()):
        image[name] = later.made()  # type: ignore[attr-defined]
    return parser


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    action = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    choices: dict[str, argparse.ArgumentParser] = action.choices
    return choices


def _verbs(words: Sequence[str], parser: Parser) -> Iterator[ModuleType]:
    called = next((words[place] for place in names_at(words, parser)), "")
    for name in (called,) if called in VERBS else VERBS:
        yield import_module(f"growdisk.cli.{name}")

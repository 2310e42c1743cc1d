"""The parser of the command line: only the module of the command that is called is loaded.

Errors are raised as UsageError, so that --json has its one document for them as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from growdisk import __version__
from growdisk.cli.common_options import add_common, config_files
from growdisk.cli.output import help_width
from growdisk.errors import UsageError, bad_value

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Any, NoReturn

#: A command's module in this room, "" if it only has commands of its own; what it does.
COMMANDS = {
    "expand": ("expand", "grow image, partition and file system, with a snapshot before each step"),
    "plan": ("expand", "show what expand would do, and touch nothing"),
    "show": (
        "show",
        "draw the disk: image, partitions, what is in them, how much is used, what blocks growth",
    ),
    "list": (
        "list",
        "many disks at a glance: a line each, how full they are and what hinders growth",
    ),
    "watch": ("watch", "grow, by rules, the disks that are nearly full: one round, for a timer"),
    "status": ("recorded_runs", "say how an unfinished, kept or finished run stands"),
    "resume": ("recorded_runs", "go on with an unfinished run"),
    "rollback": ("recorded_runs", "undo an unfinished or kept run"),
    "commit": ("recorded_runs", "forget the snapshots of a kept run: its result is final"),
    "script": (
        "script",
        "write scripts that grow the disk from inside its running guest, with a README; touch "
        "nothing else",
    ),
    "run": ("run", "run a playbook: tasks on many images, in Ansible's YAML"),
    "provision": (
        "provision",
        "make ready images of a base image, grown with all layers, before their first boot",
    ),
    "image": ("", "make, describe, check, convert and change qcow2 and raw images"),
    "image info": ("images.describe", "show an image's format, sizes and options"),
    "image map": ("images.describe", "which layer holds which bytes, and where"),
    "image check": ("images.verdicts", "check an image, and repair it"),
    "image compare": ("images.verdicts", "compare what two images contain"),
    "image create": ("images.create", "a new, empty image"),
    "image resize": (
        "images.sizes",
        "change the virtual size of the image alone (growdisk expand does the whole job)",
    ),
    "image snapshot": ("images.snapshot", "list, create, apply, delete internal snapshots"),
    "image convert": (
        "images.convert",
        "what a guest sees of an image, in another format or shape",
    ),
    "image copy": ("images.convert", "copy a raw image, with its holes"),
    "image overlay": ("images.layers", "a new, empty image on top of another"),
    "image commit": ("images.layers", "give an overlay's data to its backing file, and empty it"),
    "image rebase": ("images.layers", "put an overlay on another backing file"),
    "image compact": (
        "images.sizes",
        "give unused clusters back, keeping snapshots and backing file",
    ),
    "image read": ("images.guest_bytes", "copy guest bytes into a file"),
    "image write": ("images.guest_bytes", "copy a file onto guest bytes"),
    "collection": ("", "install the Ansible collection growdisk.disk"),
    "collection install": ("integration", "copy it to a folder where ansible looks"),
    "doctor": ("doctor", "say what works on this machine and what to install"),
    "completion": ("integration", "print the completion of a shell (bash, zsh, fish)"),
}
_TEXTS = frozenset(("-h", "--help", "-V", "--version"))
# Words of other tools, for foreign_words.py; some are growdisk's own for other verbs.
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
    if all(word.startswith("-") for word in words) and _TEXTS.isdisjoint(words):
        raise UsageError.named(
            "no-command",
            "{problem}",
            "",
            "growdisk COMMAND --help says more about one",
            {"problem": "no command is given"},
        )
    parser = top_parser()
    _refuse_options_first(parser, words)
    arguments, left = parser.parse_known_args(words)
    if left and not _take_late(arguments, left):
        raise _not_understood(arguments, left)
    arguments.words, arguments.keys, arguments.asked_for = tuple(words), None, set()
    return arguments


def _take_late(arguments: argparse.Namespace, left: Sequence[str]) -> bool:
    """Take words that are left over for SIZE, OUT, NAME, PATH, which may be left out.

    argparse settles these with the words directly before them: not so in `X --swap move +1G`.
    """
    if any(word.startswith("-") and not word[1:2].isdigit() for word in left):
        return False
    last = next(reversed(arguments.parser._get_positional_actions()), None)
    given = getattr(arguments, last.dest) if last else ""
    if isinstance(given, list):
        given += left
        return True
    is_size = left[0].lstrip("+-")[:1].isdigit()
    if last is None or given is not None or len(left) > 1 or (last.dest == "size" and not is_size):
        return False
    setattr(arguments, last.dest, left[0])
    return True


def _refuse_options_first(parser: Parser, words: Sequence[str]) -> None:
    """`growdisk -d web01 expand`: argparse would take web01 for the command."""
    late = next((word for word in words if word in COMMANDS), None)
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


def top_parser() -> Parser:
    """The parser of growdisk itself, whose commands are yet to be made."""
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
    _add_commands(parser, "", title="commands", description="", metavar="COMMAND")
    # For errors before a verb is known; a verb's own parser takes its place.
    parser.set_defaults(parser=parser)
    return parser


def _add_commands(parser: Parser, group: str, **settings: str) -> None:
    """The commands of COMMANDS whose names begin with `group`, as parsers that are made later."""
    commands = parser.add_subparsers(
        prog=parser.prog,
        required=True,
        parser_class=_Later,  # type: ignore[type-var]
        **settings,
    )
    for name, (_, text) in COMMANDS.items():
        verb = name.removeprefix(group)
        if name.startswith(group) and " " not in verb:
            commands.add_parser(verb, help=text, description=f"{text}.", allow_abbrev=False)


class _Later:
    """A command's parser, made when it is to parse: argparse asks all others for nothing."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        return self.made().parse_known_args(args, namespace)

    def made(self) -> Parser:
        """The parser itself, with the arguments that the command's own module adds."""
        parser = Parser(**self._options)
        # These win over those of the parser around it, which are set before.
        parser.set_defaults(parser=parser)
        _, _, name = parser.prog.partition(" ")
        module, verb = COMMANDS[name][0], name.rpartition(" ")[2]
        if module:
            found = import_module(f"growdisk.cli.{module}")
            parser.set_defaults(run=getattr(found, f"run_{verb}"))
            getattr(found, f"{verb}_arguments")(parser)
        else:
            _add_commands(parser, f"{name} ", metavar="VERB")
        # After the command's own: it may have taken -o.
        add_common(parser, top=False)
        _take_defaults(parser)
        return parser


def _take_defaults(parser: argparse.ArgumentParser) -> None:
    """The site's defaults, if it has any: the module that reads them is not loaded otherwise."""
    if config_files():
        from growdisk.cli.config import apply

        apply(parser)


def whole_parser() -> Parser:
    """The parser with all commands made, for man pages and completion, which look at options."""
    parser = top_parser()
    _make_commands(parser)
    return parser


def _make_commands(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, later in list(action.choices.items()):
                action.choices[name] = later.made()
                _make_commands(action.choices[name])

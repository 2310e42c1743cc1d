"""The options that stand before and after every command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

_MOST_JOBS = 1000  # threads or processes at once


def group_of(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """The group of options under this title in the parser's help; a new one if there is none."""
    # argparse itself would make a second group with the same title.
    known = (group for group in parser._action_groups if group.title == title)
    return next(known, None) or parser.add_argument_group(title)


def add_flag(parser: argparse._ActionsContainer, forms: str, text: str, **settings: object) -> None:
    """An option that is given or not; `forms` are all that it is called: "-n --dry-run"."""
    parser.add_argument(*forms.split(), action="store_true", help=text, **settings)  # type: ignore[arg-type]


def add_value(
    parser: argparse._ActionsContainer, forms: str, metavar: str, text: str, **settings: object
) -> None:
    """An argument that has a value."""
    parser.add_argument(*forms.split(), metavar=metavar, help=text, **settings)  # type: ignore[arg-type]


def add_list(
    parser: argparse._ActionsContainer, forms: str, metavar: str, text: str, **settings: object
) -> None:
    """An option that may be given several times."""
    add_value(parser, forms, metavar, text, action="append", default=[], **settings)


def add_jobs(parser: argparse._ActionsContainer, text: str, default: int, least: int = 1) -> None:
    def jobs(word: str) -> int:
        if not least <= int(word) <= _MOST_JOBS:
            raise argparse.ArgumentTypeError(f"'{word}' is not from {least} to {_MOST_JOBS}")
        return int(word)

    jobs.__name__ = "int"  # argparse names it where int() itself refuses the word
    parser.add_argument("-j", "--jobs", type=jobs, default=default, metavar="N", help=text)


def add_common(whole: argparse.ArgumentParser, *, top: bool) -> None:
    """The options that may come before or after the command; the top parser sets their defaults."""
    # A verb's parser copies its values over the top parser's: without SUPPRESS its defaults would
    # undo what stands before the verb (`growdisk --json show`).
    default = False if top else argparse.SUPPRESS
    parser = group_of(whole, "options" if top else "output")
    add_flag(parser, "-v --verbose", "say more on stderr", default=default)
    add_flag(parser, "-q --quiet", "no progress, no notes", default=default)
    add_flag(parser, "-x", "print every external command", dest="commands", default=default)
    add_flag(parser, "--json", "one JSON document on stdout", default=default)
    text = "progress as JSON lines on stderr: steps, percentages"
    add_flag(parser, "--json-events", text, default=default)
    absent = None if top else argparse.SUPPRESS
    text = "the same, to file descriptor N"
    add_value(parser, "--events-fd", "N", text, type=int, default=absent)
    # A verb whose own arguments (which are added before) have an -o keeps that.
    log = "--log" if "-o" in whole._option_string_actions else "-o --log"
    text = "append a line on who did what when"
    add_value(parser, log, "FILE", text, type=named_path, default=absent)
    add_flag(parser, "--syslog", "the same line to syslog and journald", default=default)
    text = (
        "where runs of block devices lie, and the records of finished ones (default: "
        "GROWDISK_STATE_DIR, or /var/lib/growdisk for root)"
    )
    add_value(parser, "--state-dir", "DIR", text, type=named_path, default=absent)
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto" if top else argparse.SUPPRESS,
        help="colours (default: on a terminal)",
    )
    text = "follow the names of backing and data files out of the image's folder"
    add_flag(parser, "--trust-references", text, default=default)


def names_at(words: Sequence[str], parser: argparse.ArgumentParser | None = None) -> list[int]:
    """Where words stand that are neither options nor their values: the command is the first.

    `parser` has the options; without one they are those that stand before every command.
    """
    if parser is None:
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        add_common(parser, top=True)
    places, of_option, only_names = [], False, False
    for place, word in enumerate(words):
        if of_option:
            of_option = False
        elif only_names or word == "-" or not word.startswith("-"):
            places.append(place)
        else:
            only_names = word == "--"
            option = parser._option_string_actions.get(word)
            # nargs None: the next word is its value. A flag has 0.
            of_option = option is not None and option.nargs is None
    return places


def named_path(text: str) -> Path:
    """The path; an empty word is an error, as from a script's unset variable.

    To Path it would be the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder is empty")
    return Path(text)


def config_files() -> tuple[str, ...]:
    """The files that have a site's defaults for options, the stronger one last."""
    # Also if it is not there: with a slip in its name, swap would be dropped instead of moved.
    if named := os.environ.get("GROWDISK_CONFIG"):
        return (named,)
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    files = "/etc/growdisk.toml", os.path.expanduser(f"{home}/growdisk/config.toml")  # noqa: PTH111
    return tuple(filter(os.path.exists, files))  # quicker than Path.exists, asked for each command

"""Options of argparse, made from the one table of options (planner/option_table.py)."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.planner.option_table import SHARED, OptionSpec, as_flag

_TYPES = {"int": int, "path": Path}


def declare(
    parser: argparse._ActionsContainer,
    option: OptionSpec | str,
    *flags: str,
    more: str = "",
    off: str = "",
    **settings: object,
) -> None:
    """Add an option of the table (a text: the one of this name that expand has).

    `flags` are its short forms, before its own name; with a `dest` in `settings` they are all its
    forms. `more` stands after its description in the help. `off`: the help of `--no-NAME`, for a
    bool that is true by default. Other `settings` (metavar, type, choices) overrule the table.
    """
    if isinstance(option, str):
        option = SHARED[option]
    made: dict[str, object] = {"help": help_of(option, more)}
    if off:
        flags = (as_flag(f"no_{option.name}"),)
        made = {"help": off, "action": "store_false", "dest": option.name}
    elif "dest" not in settings:
        flags = (*flags, as_flag(option.name))
    if option.type == "bool":
        made = {"action": "store_true"} | made
    elif option.type == "list":
        made |= {"action": "append", "default": [], "type": _TYPES.get(option.elements or "", str)}
    else:
        made |= {"default": option.default, "type": _TYPES.get(option.type, str)}
    if option.choices:
        made["choices"] = option.choices
    parser.add_argument(*flags, **(made | settings))  # type: ignore[arg-type]


def help_of(option: OptionSpec, more: str = "") -> str:
    """A description as argparse's help writes it: no capital, no full stop."""
    text = option.description.rstrip(".")
    # argparse fills %(default)s and the like into a help text: a percent sign itself is doubled.
    return "; ".join(filter(None, (text[0].lower() + text[1:], more))).replace("%", "%%")

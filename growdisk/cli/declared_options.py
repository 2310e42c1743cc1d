"""Options of the command line, made from the one table of options (planner/option_table.py)."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.planner.option_table import SHARED, OptionSpec

_TYPES = {"int": int, "path": Path}


def declare(
    parser: argparse._ActionsContainer, name: str, *flags: str, more: str = "", also: tuple[str, ...] = (),
    **settings: object,
) -> None:  # fmt: skip
    """Add the option `name` of the table, with `flags` as short forms. `more` stands behind its description in the
    help; `also`: choices that only the command line has. `settings` (metavar, type, default) overrule the table."""
    option = SHARED[name]
    flag = f"--{name.replace('_', '-')}"
    made: dict[str, object] = {"help": help_of(option, more)}
    if option.type == "bool":
        made |= {"action": "store_true"}
    elif option.type == "list":
        made |= {"action": "append", "default": [], "type": _TYPES.get(option.elements or "", str)}
    else:
        made |= {"default": option.default, "type": _TYPES.get(option.type, str)}
    if option.choices:
        made["choices"] = (*option.choices, *also)
    parser.add_argument(*flags, flag, **(made | settings))  # type: ignore[arg-type]


def help_of(option: OptionSpec, more: str = "") -> str:
    """A description as argparse's help writes it: no capital, no full stop."""
    text = option.description.rstrip(".")
    return "; ".join(filter(None, (text[0].lower() + text[1:], more))).replace("%", "%%")

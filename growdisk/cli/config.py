"""A site's defaults: /etc/growdisk.toml, then the user's file, then the command line.

The user's file is $XDG_CONFIG_HOME/growdisk/config.toml.

    swap = "move"
    snapshots = "internal"
    backend = "auto"
    ssh_config = "/etc/growdisk/ssh_config"
    log = "/var/log/growdisk.log"
    syslog = true

A key is an option of the command line with underscores; a command takes those that it has.
GROWDISK_CONFIG names one file instead of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from growdisk.cli.common_options import config_files
from growdisk.errors import UsageError, bad_value
from growdisk.given_file import given_path, read_given
from growdisk.planner.option_table import SHARED
from growdisk.suggestions import nearest

_CHOICES: dict[str, tuple[str, ...]] = {
    **{name: SHARED[name].choices for name in ("swap", "backend", "snapshots")},
    "color": ("auto", "always", "never"),
}
_PATHS = ("state_dir", "ssh_config", "log")
_FLAGS = ("syslog",)
_TEXTS = ("connect",)
KEYS = (*_CHOICES, *_PATHS, *_FLAGS, *_TEXTS)


def configured() -> dict[str, tuple[object, Path]]:
    """Every default that is set, and the file that says so. UsageError for what cannot be meant."""
    found: dict[str, tuple[object, Path]] = {}
    for name in config_files():
        file = Path(name)
        # A later file, the user's own, replaces single keys of an earlier one.
        found.update({key: (value, file) for key, value in _read(file)})
    return found


def apply(parser: argparse.ArgumentParser) -> None:
    """Put the configured defaults in the place of growdisk's own, for the parser's options."""
    # SUPPRESS: a default here would overrule what stands before the verb.
    known = {one.dest: one for one in parser._actions if one.default is not argparse.SUPPRESS}
    for key, (value, _) in configured().items():
        if key in known:
            known[key].default = value


def is_typed(arguments: argparse.Namespace, option: str) -> bool:
    """Whether the command line says it: a site's default is weaker than a recipe, or rules."""
    # `apply` put this very object there; a word of the command line is always another one.
    return getattr(arguments, option) is not arguments.parser.get_default(option)


def _read(file: Path) -> Iterator[tuple[str, object]]:
    import tomllib

    try:
        values = tomllib.loads(read_given(file, "").decode("utf-8"))
    except (UsageError, ValueError) as error:
        reason = error.why if isinstance(error, UsageError) else str(error)
        problem = f"cannot read the configuration {file}"
        raise UsageError(problem, "correct it, or move it away", reason) from error
    for key, value in values.items():
        yield key, _checked(file, key, value)


def _checked(file: Path, key: str, value: object) -> object:
    where = f"{file}: {key}"
    if key not in KEYS:
        near = nearest(key, KEYS)
        hint = f"did you mean {near}?" if near else f"there are: {', '.join(KEYS)}"
        raise UsageError(f"{where} is not a default that can be set", hint)
    if key in _FLAGS:
        if not isinstance(value, bool):
            raise bad_value(f"{where} is neither true nor false", key, str(value), f"{key} = true")
        return value
    if not isinstance(value, str) or not value:
        raise bad_value(f"{where} is not a text", key, str(value), f'{key} = "…"')
    if (choices := _CHOICES.get(key)) and value not in choices:
        problem, hint = f"{where}: '{value}' is none of its values", f"one of: {', '.join(choices)}"
        raise bad_value(problem, key, value, hint, choices=choices)
    # ~ is filled in here: on a command line the shell does that.
    return given_path(value) if key in _PATHS else value

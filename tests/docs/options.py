"""The options of a command, as its own parser has them."""

from __future__ import annotations

import argparse

from growdisk.cli.parser import whole_parser


def actions_of(verb: str) -> list[argparse.Action]:
    """The options and arguments of a verb: `expand`, `image convert`."""
    parser: argparse.ArgumentParser = whole_parser()
    for word in verb.split():
        parser = next(
            action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
        ).choices[word]
    return parser._actions

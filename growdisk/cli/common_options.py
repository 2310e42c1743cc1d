"""The options that stand before and after every command."""

from __future__ import annotations

import argparse


def add_common(parser: argparse.ArgumentParser, *, top: bool) -> None:
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

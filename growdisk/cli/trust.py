"""Files outside an image's own folder: followed if the user says so, by option or when asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from growdisk.cli.terminal_style import printable
from growdisk.qcow2.outside import ReferenceOutside


def add_trust(parser: argparse.ArgumentParser | argparse._ArgumentGroup, default: object) -> None:
    parser.add_argument(
        "--trust-references",
        action="store_true",
        default=default,
        help="follow the names of backing and data files out of the image's folder",
    )


def following(action: Callable[[], int], *, trust_all: bool) -> int:
    """Do it, and again each time the user agrees to open a file outside its image's folder."""
    if trust_all:
        from growdisk.qcow2.named_files import trusting_references

        with trusting_references():
            return action()
    try:
        return action()
    # Raised before anything is changed, so the whole action can be done again.
    except ReferenceOutside as error:
        if not _agreed(error):
            raise
        from growdisk.qcow2.named_files import trusting

        with trusting(error.target):
            # Again, as this file may name a further one: one question each, what was
            # agreed to stays.
            return following(action, trust_all=False)


def _agreed(error: ReferenceOutside) -> bool:
    if not (
        # None: the caller has closed it (<&-).
        sys.stdin is not None
        and sys.stdin.isatty()
        and sys.stderr is not None
        and sys.stderr.isatty()
    ):
        return False
    question = (
        f"{error.path}: its {error.role} is {error.target}, outside its folder. Open it? [y/N] "
    )
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

"""Passphrases of encrypted images: from files, or asked for on a terminal if one is needed.

A file's bytes are the passphrase as they are, a line break at the end included, as QEMU takes them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from growdisk.cli.common_options import add_list, add_value
from growdisk.errors import KeyNeeded, UsageError, WrongKey

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import TypeVar

    Answer = TypeVar("Answer")

_TEXT = (
    "a passphrase (all bytes of FILE); may be given several times: each encrypted image takes "
    "the one that opens it"
)


def add_key(parser: argparse._ActionsContainer, text: str = _TEXT) -> None:
    add_list(parser, "--key-file", "FILE", text, type=Path)


def add_new_key(parser: argparse.ArgumentParser) -> None:
    text = "encrypt under the passphrase of --new-key-file"
    parser.add_argument("--encrypt", choices=("luks",), help=text)
    text = "the passphrase of the new image (default: that of --key-file, else asked for on a "
    add_value(parser, "--new-key-file", "FILE", f"{text}terminal)", type=Path)


def unlocking(
    arguments: argparse.Namespace,
    action: Callable[[tuple[bytes, ...]], Answer],
    given: tuple[bytes, ...] | None = None,
) -> Answer:
    """Call `action` with the known passphrases, and again with each that the user then types."""
    keys = tuple(map(read_key, arguments.key_file)) if given is None else given
    prompted: set[Path] = set()
    while True:
        try:
            return action(keys)
        # Nothing is changed yet, so the action can be done again; once for each image.
        except (KeyNeeded, WrongKey) as error:
            if error.path in prompted or not _is_terminal():
                raise
            prompted.add(error.path)
            keys = (*keys, _ask(f"Passphrase of {error.path}: "))


def key_for_new(arguments: argparse.Namespace) -> bytes | None:
    """The passphrase of an image to be: --encrypt wants one."""
    # convert takes SRC's own passphrase if no other is given; create knows both names of it.
    file = arguments.new_key_file or next(iter(arguments.key_file), None)
    if not arguments.encrypt:
        if arguments.new_key_file is not None:
            problem = "--new-key-file is for an image that is encrypted"
            raise UsageError(problem, "add --encrypt luks")
        return None
    if file is None and _is_terminal():
        return _ask_twice(arguments.path)
    option = "--new-key-file" if arguments.new_key_file else "--key-file"
    key = read_key(file, option) if file is not None else b""
    if not key:
        raise UsageError("--encrypt needs a passphrase", hint="give it with --key-file FILE")
    return key


def read_key(path: Path, option: str = "--key-file") -> bytes:
    from growdisk.given_file import read_given  # few commands are given a key

    return read_given(path, f"check {option}")


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(prompt: str) -> bytes:
    import getpass

    try:
        return getpass.getpass(prompt).encode()
    except EOFError as error:
        problem = "no passphrase was given"
        raise UsageError(problem, "type it, or give it with --key-file FILE") from error


def _ask_twice(path: Path) -> bytes:
    key = _ask(f"New passphrase of {path}: ")
    if not key or _ask("The same again: ") != key:
        problem = "the passphrase is empty, or was typed differently"
        raise UsageError(problem, "try again, or use --key-file FILE")
    return key

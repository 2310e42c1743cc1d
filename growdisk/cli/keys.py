"""Passphrases: from files, from the command line, or asked for on a terminal if one is needed.

A file's bytes are the passphrase as they are, a line break at the end included, as QEMU takes them.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path

from growdisk.cli.common_options import add_list, add_value
from growdisk.errors import KeyNeeded, UsageError, WrongKey

_SELECTORS = ("key", "file")
_TEXT = (
    "a passphrase (all bytes of FILE); may be given several times: each encrypted image takes "
    "the one that opens it"
)


def add_key(parser: argparse._ActionsContainer, text: str = _TEXT) -> None:
    add_list(parser, "--key-file", "FILE", text, type=Path)


def add_new_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encrypt", choices=("luks",), help="encrypt under the passphrase of --new-key-file"
    )
    text = (
        "the passphrase of the new image (default: that of --key-file, else asked for on a "
        "terminal)"
    )
    add_value(parser, "--new-key-file", "FILE", text, type=Path)


def keys_of(arguments: argparse.Namespace) -> tuple[bytes, ...]:
    """All passphrases that were given, and those that the user has typed since."""
    # Read once: a file may be a pipe, and a command that lacked a passphrase is done again.
    if arguments.keys is None:
        selected = map(_selected, getattr(arguments, "key", ()))
        arguments.keys = (*map(read_key, arguments.key_file), *selected)
    keys: tuple[bytes, ...] = arguments.keys
    return keys


def _selected(selector: str) -> bytes:
    """The passphrase of `ID:key:PASSPHRASE`, `ID:file:FILE` or PASSPHRASE, for every container."""
    _, first, rest = selector.partition(":")
    kind, second, value = rest.partition(":")
    # A passphrase may have colons too: only `key` or `file` as its second part makes a selector.
    if not (first and second and kind in _SELECTORS):
        return selector.encode()
    return read_key(Path(value)) if kind == "file" else value.encode()


def ask_for_key(arguments: argparse.Namespace, error: KeyNeeded | WrongKey) -> bool:
    """Ask for what would have opened it, once for each image; False if nobody can be asked."""
    if "key_file" not in arguments or error.path in arguments.asked_for or not _is_terminal():
        return False
    arguments.asked_for.add(error.path)
    arguments.keys = (*keys_of(arguments), _ask(f"Passphrase of {error.path}: "))
    return True


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


@cache  # a command that is done again, with another passphrase, asks no second time
def _ask_twice(path: Path) -> bytes:
    key = _ask(f"New passphrase of {path}: ")
    if not key or _ask("The same again: ") != key:
        problem = "the passphrase is empty, or was typed differently"
        raise UsageError(problem, "try again, or use --key-file FILE")
    return key

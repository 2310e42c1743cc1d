"""Keys and passwords in files of the host."""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import UsageError
from growdisk.given_file import read_given

_MAX_TEXT = 1 << 20  # bytes: an authorized_keys of thousands of lines


def text_in(path: Path) -> str:
    try:
        return read_given(path.expanduser(), "check its name and permissions", _MAX_TEXT).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text", hint="a key or a password is one") from error


def password_in(path: Path) -> bytes:
    """Its first line; the line break does not belong to it."""
    line, _, rest = text_in(path).partition("\n")
    if rest.strip():
        raise UsageError(f"{path} has more than one line", hint="a password is one line")
    return line.removesuffix("\r").encode()

"""Values as JSON and back, checked against their types: the only user of msgspec."""

from __future__ import annotations

from typing import TypeVar

from growdisk.fast_dataclass import plain
from growdisk.fast_imports import load_msgspec

load_msgspec()

import msgspec  # noqa: E402

T = TypeVar("T")
Raw = msgspec.Raw
"""A piece of JSON that stays as it is until its type is known."""


class NotThatValue(ValueError):
    """The text is not JSON, or not of the type that was asked for; the message names the place."""


def encoded(value: object) -> bytes:
    return msgspec.json.encode(plain(value))


def encoded_lines(value: object) -> bytes:
    """The same for people to read."""
    return msgspec.json.format(encoded(value), indent=1)


def decoded(text: bytes | str | Raw, kind: type[T]) -> T:
    """Raises NotThatValue."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotThatValue(str(error)) from error


def converted(value: object, kind: type[T]) -> T:
    """Plain objects (dict, list, str, ...) as a typed value; unknown fields are left out."""
    try:
        return msgspec.convert(value, kind, dec_hook=_made)
    except (msgspec.ValidationError, RecursionError) as error:
        raise NotThatValue(str(error)) from error


def _made(kind: type, value: object) -> object:
    """What msgspec does not know itself: a Path; `object`, which is anything."""
    return value if kind is object else kind(value)

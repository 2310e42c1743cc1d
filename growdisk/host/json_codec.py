"""Values as JSON and back, checked against their types: the only user of msgspec."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, TypeVar

from growdisk.fast_dataclass import plain
from growdisk.fast_imports import load_msgspec

T = TypeVar("T")


class NotThatValue(ValueError):
    """The text is not JSON, or not of the type that was asked for; the message names the place."""


def encoded(value: object) -> bytes:
    return _dumped(value, separators=(",", ":"))


def encoded_lines(value: object) -> bytes:
    """The same for people to read."""
    return _dumped(value, indent=1)


def _dumped(value: object, **form: Any) -> bytes:
    words = plain(value)
    return in_bytes(json.dumps(words, ensure_ascii=False, default=_other, allow_nan=False, **form))


def in_bytes(words: str) -> bytes:
    """JSON as UTF-8. A byte of a file name that is not text (PEP 383) is an escape: \\udcff."""
    return words.encode("utf-8", "backslashreplace")


def _other(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"no JSON for {type(value).__name__}")


def decoded(text: bytes | str, kind: type[T]) -> T:
    """Raises NotThatValue."""
    load_msgspec()
    import msgspec

    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotThatValue(str(error)) from error


def converted(value: object, kind: type[T]) -> T:
    """Plain objects (dict, list, str, ...) as a typed value; unknown fields are left out."""
    load_msgspec()
    import msgspec

    try:
        return msgspec.convert(value, kind, dec_hook=_made)
    except (msgspec.ValidationError, RecursionError) as error:
        raise NotThatValue(str(error)) from error


def converted_from_qemu(value: object, kind: type[T]) -> T:
    """The same of QEMU's and its agent's values: fields have underscores for their hyphens."""
    try:
        return converted(_underscored(value), kind)
    except RecursionError as error:
        raise NotThatValue("it is nested too deeply") from error


def _underscored(value: object) -> object:
    if isinstance(value, dict):
        return {str(key).replace("-", "_"): _underscored(item) for key, item in value.items()}
    return [_underscored(item) for item in value] if isinstance(value, list) else value


def _made(kind: type, value: object) -> object:
    """What msgspec does not know itself: a Path; `object`, which is anything."""
    return value if kind is object else kind(value)

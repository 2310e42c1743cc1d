"""What a number in an expression may ask for: of little, nothing large is made.

A number becomes a length as a factor, as a power, and as a width: in a format, and where filters of
jinja2 and methods of Python take one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps

_LONGEST = 1 << 20  # what one operation may make, in items or characters
_HIGHEST_POWER = 1024
# The number is the first argument, or has this name.
_FILTERS: Mapping[str, str] = {
    "batch": "linecount",
    "center": "width",
    "indent": "width",
    "round": "precision",
    "slice": "slices",
    "tojson": "indent",
}
_METHODS: Mapping[str, str] = {
    "center": "width",
    "expandtabs": "tabsize",
    "ljust": "width",
    "rjust": "width",
    "to_bytes": "length",
    "zfill": "width",
}
# Width and precision come after a % or the ")" of its key, and after flags; "*" has no key.
_PERCENT_WIDTHS = re.compile(r"(?:%[-+ #0]*|\)[-+ #0]*(?!\*))(\*|\d+)?(?:\.(\*|\d+))?")


class TooLarge(ValueError):
    """An expression would make more than anybody needs."""


def limit_operation(operator: str, left: object, right: object) -> None:
    """TooLarge. Of the operators "*", "**" and "%"."""
    match operator:
        case "**":
            if isinstance(right, int | float) and abs(right) > _HIGHEST_POWER:
                raise TooLarge("the power is too high")
            if isinstance(left, int) and isinstance(right, int):
                _limit(left.bit_length() * abs(right) // 8)
        case "*":
            for many, times in ((left, right), (right, left)):
                if isinstance(many, str | bytes | list | tuple) and isinstance(times, int):
                    _limit(len(many) * times)
        case "%":
            _limit_percent_widths(left, right)


def limit_call(
    function: Callable[..., object], values: tuple[object, ...], named: Mapping[str, object]
) -> None:
    """TooLarge."""
    # jinja2 puts a function of its own around str.format.
    bound = function if hasattr(function, "__self__") else getattr(function, "__wrapped__", None)
    name, owner = getattr(bound, "__name__", ""), getattr(bound, "__self__", None)
    if isinstance(owner, str | bytes | int) and name in _METHODS:
        _limit_width(owner, (*values[:1], named.get(_METHODS[name])))
    if isinstance(owner, str) and name in ("format", "format_map"):
        _limit_field_widths(owner)


def limited_filters(
    filters: Mapping[str, Callable[..., object]],
) -> Iterator[tuple[str, Callable[..., object]]]:
    """Those of jinja2's filters that take a number as a length, with a look at it before."""
    for name in ("format", *_FILTERS):
        yield name, _limited(name, filters[name])


def _limited(name: str, function: Callable[..., object]) -> Callable[..., object]:
    # To a function that it marks so jinja2 gives a state of its own before the value.
    at = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def checked(*values: object, **named: object) -> object:
        value, *others = values[at:]
        if name == "format":
            _limit_percent_widths(value, tuple(others))
        else:
            _limit_width(value, (*others[:1], named.get(_FILTERS[name])))
        return function(*values, **named)

    return checked


def _limit(length: int) -> None:
    if length > _LONGEST:
        raise TooLarge("the result is too long")


def _limit_width(value: object, widths: Iterable[object]) -> None:
    """Each line of a text may become so wide."""
    times = len(value) if isinstance(value, str | bytes) else 1
    _limit(_largest(widths) * max(times, 1))


def _largest(values: Iterable[object]) -> int:
    return max((abs(value) for value in values if isinstance(value, int)), default=0)


def _limit_percent_widths(text: object, values: object) -> None:
    """Of `text % values`; a width "*" is one of the values."""
    if isinstance(text, str | bytes):
        plain = text if isinstance(text, str) else text.decode("latin-1")
        widest = _largest(values if isinstance(values, tuple) else (values,))
        widths = (width for found in _PERCENT_WIDTHS.findall(plain) for width in found if width)
        _limit(sum(widest if width == "*" else int(width) for width in widths))


def _limit_field_widths(text: str) -> None:
    """Of `text.format()`."""
    specs = [spec or "" for _, _, spec, _ in string.Formatter().parse(text)]
    if any("{" in spec for spec in specs):
        raise TooLarge("the width of a field must be a number")
    _limit(sum(int(digits) for spec in specs for digits in re.findall(r"\d+", spec)))

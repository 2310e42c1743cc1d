"""Templates: the only user of jinja2.

Two environments: shell scripts for guests, and expressions of playbooks. A playbook may come from
anybody: its expressions run in jinja2's sandbox (no attributes that lead out of the values, nothing
that changes them), a name that is not known is an error, and no number in it (a factor, a power, a
width) makes something large of something small.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import ClassVar

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.sandbox
from jinja2 import nodes

_FORGIVING = frozenset({"default", "d", "defined", "undefined"})

Failure = jinja2.TemplateError


class _Bare(jinja2.ext.Extension):
    """Leaves out comments, indents and empty lines of the template; a value may be like one."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        lines = (line.lstrip(" ") for line in source.splitlines(keepends=True))
        return "".join(
            line
            for line in lines
            if line.strip() and (not line.startswith("#") or line.startswith("#!"))
        )


@cache
def shell_environment(
    finalize: Callable[[object], str], *, comments: bool = True
) -> jinja2.Environment:
    """For templates/*.sh.j2, each compiled once.

    Shell is full of {% and {#, as in {%s} and ${#x}.
    """
    return jinja2.Environment(
        extensions=[] if comments else [_Bare],
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        loader=jinja2.PackageLoader("growdisk.guest_scripts"),
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        keep_trailing_newline=True,
        autoescape=False,
    )


def html_environment(package: str) -> jinja2.Environment:
    """For templates/*.html.j2 of a package: values are escaped, unknown names are errors."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    intercepted_binops: ClassVar[frozenset[str]] = frozenset({"*", "**", "%"})  # type: ignore[misc]

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: object, right: object
    ) -> object:
        # Checked before it is done: afterwards the memory is gone already.
        limit_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(
        self,
        context: jinja2.runtime.Context,
        function: Callable[..., object],
        /,
        *values: object,
        **named: object,
    ) -> object:
        limit_call(function, values, named)
        return super().call(context, function, *values, **named)


class Sandbox:
    """Expressions and texts of playbooks, with `filters` and `tests` besides jinja2's own."""

    def __init__(
        self,
        filters: Mapping[str, Callable[..., object]],
        tests: Mapping[str, Callable[..., object]],
    ) -> None:
        self._environment = _Sandbox(
            undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
        )
        del self._environment.globals["lipsum"]  # filler text, as long as a number says
        own = self._environment.filters
        # Those that take a number as a length, with a look at it before.
        own.update({name: _limited(name, own[name]) for name in ("format", *_FILTERS)})
        own.update(filters)
        self._environment.tests.update(tests)

    def names_in(self, text: str, *, expression: bool = False) -> tuple[set[str], set[str]]:
        """(variables used, those of them that may be missing: `x is defined`, `x | default(1)`).

        Failure (jinja2's TemplateSyntaxError) if the text cannot be parsed.
        """
        # In brackets: an expression such as `a }} {{ b` does not become two.
        source = "{{ (" + text + ") }}" if expression else text
        tree = self._environment.parse(source)
        self._environment.from_string(source)  # unknown filters and tests are found here
        spared = (
            node for node in tree.find_all((nodes.Filter, nodes.Test)) if node.name in _FORGIVING
        )
        # Of `x.y | default(1)` x itself must be there.
        optional = {node.node.name for node in spared if isinstance(node.node, nodes.Name)}
        return set(jinja2.meta.find_undeclared_variables(tree)), optional

    def text(self, text: str, values: Mapping[str, object]) -> str:
        """A text with {{ expressions }} and {% statements %} filled in."""
        return self._environment.from_string(text).render(values)

    def value(self, expression: str, values: Mapping[str, object]) -> object:
        """What an expression comes to, as the value that it is.

        Unknown names are an error as soon as they are used.
        """
        found: object = self._environment.compile_expression(expression, undefined_to_none=False)(
            **values
        )
        if isinstance(found, jinja2.Undefined):
            str(found)  # raises, in jinja2's own words
        return found


# What a number in an expression may ask for: of little, nothing large is made. A number becomes a
# length as a factor, as a power, and as a width: in a format, and where filters of jinja2 and
# methods of Python take one.


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
_PERCENT_WIDTHS = r"(?:%[-+ #0]*|\)[-+ #0]*(?!\*))(\*|\d+)?(?:\.(\*|\d+))?"


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
        widths = (width for found in re.findall(_PERCENT_WIDTHS, plain) for width in found if width)
        _limit(sum(widest if width == "*" else int(width) for width in widths))


def _limit_field_widths(text: str) -> None:
    """Of `text.format()`."""
    specs = [spec or "" for _, _, spec, _ in string.Formatter().parse(text)]
    if any("{" in spec for spec in specs):
        raise TooLarge("the width of a field must be a number")
    _limit(sum(int(digits) for spec in specs for digits in re.findall(r"\d+", spec)))

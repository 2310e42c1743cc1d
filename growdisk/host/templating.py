"""Templates: the only user of jinja2.

Two environments: shell scripts for guests, and expressions of playbooks. A playbook may come from
anybody: its expressions run in jinja2's sandbox (no attributes that lead out of the values, nothing
that changes them), a name that is not known is an error, and no number in it (a factor, a power, a
width) makes something large of something small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import ClassVar

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.sandbox
from jinja2 import nodes

from growdisk.host.template_limits import limit_call, limit_operation, limited_filters

_FORGIVING = frozenset({"default", "d", "defined", "undefined"})

Failure = jinja2.TemplateError


class _Bare(jinja2.ext.Extension):
    """Leaves out what no shell reads: comments, indents, empty lines.

    Of the template: a value may look like one.
    """

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
    """Expressions and texts of playbooks, with `filters` and `tests` beside jinja2's own."""

    def __init__(
        self,
        filters: Mapping[str, Callable[..., object]],
        tests: Mapping[str, Callable[..., object]],
    ) -> None:
        self._environment = _Sandbox(
            undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
        )
        del self._environment.globals["lipsum"]  # filler text, as long as a number says
        self._environment.filters.update(limited_filters(self._environment.filters))
        self._environment.filters.update(filters)
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

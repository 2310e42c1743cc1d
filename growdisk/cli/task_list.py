"""growdisk run --tasks: what playbooks can have, from the same data that they are checked by."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from growdisk.fast_dataclass import asdict
from growdisk.planner.option_table import OptionSpec
from growdisk.playbook.specs import TASKS


def document() -> list[dict[str, object]]:
    return [{**asdict(task), "name": task.qualified} for task in TASKS.values()]


def lines(width: int) -> Iterator[str]:
    for task in TASKS.values():
        yield f"{task.qualified}"
        yield from textwrap.wrap(
            task.description, width, initial_indent="  ", subsequent_indent="  "
        )
        for option in task.options:
            words = f"{option.name}{_kind(option)}: {option.description}"
            yield from textwrap.wrap(
                words, width, initial_indent="    ", subsequent_indent="        "
            )


def _kind(option: OptionSpec) -> str:
    facts: list[str] = [option.type]
    if option.required:
        facts.append("required")
    if option.choices:
        facts.append("|".join(option.choices))
    if option.default is not None:
        facts.append(
            "default "
            f"{str(option.default).lower() if isinstance(option.default, bool) else option.default}"
        )
    return f" ({', '.join(facts)})"

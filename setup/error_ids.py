"""Writes the table of error identifiers into docs/json.md, from the classes themselves."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import growdisk
from growdisk.errors import GrowdiskError, error_id

PAGE = Path(__file__).parent.parent / "docs/json.md"
BEGIN, END = "<!-- error ids: written by setup/error_ids.py -->\n", "<!-- end of error ids -->\n"


def error_kinds() -> list[type[GrowdiskError]]:
    """All kinds of error that can be raised, by name; those that only group others are left out."""
    for module in pkgutil.walk_packages(growdisk.__path__, "growdisk."):
        importlib.import_module(module.name)
    kinds = {kind for kind in _below(GrowdiskError) if not _groups_others(kind)}
    return sorted(kinds, key=error_id)


def _below(kind: type[GrowdiskError]) -> Iterator[type[GrowdiskError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)


def _groups_others(kind: type[GrowdiskError]) -> bool:
    return bool(kind.__subclasses__()) and kind.WHAT == GrowdiskError.WHAT


def table() -> str:
    """As Markdown: identifier, exit code, keys of `data`, and what it says."""
    rows = ["| id | code | `data` | what |", "|---|---|---|---|"]
    for kind in error_kinds():
        keys = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind) if field.name != "hint")
        what = "" if kind.WHAT == GrowdiskError.WHAT else kind.WHAT.replace("|", "\\|")
        rows.append(f"| `{error_id(kind)}` | {kind.exit_code} | {keys} | {what} |")
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))

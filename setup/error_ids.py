"""Writes the error identifiers' table into docs/json.md, from classes and raising places."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import growdisk
from growdisk.errors import GrowdiskError, error_id

PAGE = Path(__file__).parent.parent / "docs/json.md"
BEGIN, END = "<!-- error ids: written by setup/error_ids.py -->\n", "<!-- end of error ids -->\n"


@dataclasses.dataclass(frozen=True, order=True)
class Row:
    """An identifier, the exit code, the keys of `data`, and what it says."""

    id: str
    code: str
    data: tuple[str, ...]
    what: str


def rows() -> list[Row]:
    """All errors that can be raised, by identifier; classes that only group others are left out."""
    for module in pkgutil.walk_packages(growdisk.__path__, "growdisk."):
        importlib.import_module(module.name)
    kinds = {kind for kind in _below(GrowdiskError) if not _groups_others(kind)}
    codes = {kind.__name__: str(kind.exit_code) for kind in (GrowdiskError, *_below(GrowdiskError))}
    codes["kind"] = "3, 4"  # refused or failed, as far as it had come (host_falls_short)
    raised = (
        row for path in Path(growdisk.__path__[0]).rglob("*.py") for row in _named_in(path, codes)
    )
    return sorted([*map(_of_class, kinds), *raised])


def _below(kind: type[GrowdiskError]) -> Iterator[type[GrowdiskError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)


def _groups_others(kind: type[GrowdiskError]) -> bool:
    return bool(kind.__subclasses__()) and kind.WHAT == GrowdiskError.WHAT


def _of_class(kind: type[GrowdiskError]) -> Row:
    keys = tuple(field.name for field in dataclasses.fields(kind) if field.name != "hint")
    what = "" if kind.WHAT == GrowdiskError.WHAT else kind.WHAT
    return Row(error_id(kind), str(kind.exit_code), keys, what)


def _named_in(path: Path, codes: dict[str, str]) -> Iterator[Row]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        kind = ast.unparse(node.func.value)
        match node.func.attr, node.args:
            case "named", _ if kind == "cls":  # because() itself
                continue
            case "named", [ast.Constant(id), what, _, _, ast.Dict(keys=keys)]:
                names = [key.value for key in keys if isinstance(key, ast.Constant)]
            case "because", [ast.Constant(id), what, _, _]:
                names = [*(fact.arg for fact in node.keywords), "reason"]
            case "named" | "because", _:
                raise AssertionError(ast.unparse(node))
            case _:
                continue
        data = tuple(name for name in names if name != "hint" and not name.startswith("_"))
        yield Row(id, codes[kind], data, ast.literal_eval(what))


def table() -> str:
    """As Markdown."""
    lines = ["| id | code | `data` | what |", "|---|---|---|---|"]
    for row in rows():
        keys = ", ".join(f"`{key}`" for key in row.data)
        what = row.what.replace("|", "\\|")
        lines.append(f"| `{row.id}` | {row.code} | {keys} | {what} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))

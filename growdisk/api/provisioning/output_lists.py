"""Many outputs at once: a pattern and a number (web-{n:02}.qcow2), or a list as CSV or YAML.

    name,size,role            - name: db.qcow2
    web-1.qcow2,20G,web         size: 80G
    db.qcow2,80G,db             variables: {role: db}

Columns of a CSV that are neither name nor size are variables.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from growdisk.api.provisioning.recipe import Output
from growdisk.errors import BadSize, UsageError, bad_value
from growdisk.given_file import unreadable
from growdisk.units import parse_goal_size

# {n} or {n:02}, but not {{ n }}, which is a template's.
_NUMBER = re.compile(r"(?<!\{)\{n(?::0?(?P<width>\d))?\}(?!\})")
_MOST = 10_000


def counted(pattern: str, count: int) -> tuple[Output, ...]:
    """`count` outputs, numbered from 1."""
    if not 1 <= count <= _MOST:
        raise bad_value(
            f"--count {count} makes no sense", "--count", str(count), hint=f"from 1 to {_MOST}"
        )
    if count > 1 and not _NUMBER.search(pattern):
        raise UsageError(
            "all outputs would have one name",
            hint="put {n} into it: web-{n}.qcow2, or web-{n:02}.qcow2",
        )
    return tuple(Output(Path(numbered(pattern, str(number)))) for number in range(1, count + 1))


def numbered(pattern: str, number: str) -> str:
    """{n} and {n:02} in `pattern` filled in."""
    return _NUMBER.sub(lambda match: number.zfill(int(match["width"] or 0)), pattern)


def as_template(pattern: str) -> str:
    """The same as a template, for texts that are filled in later; {name} as well."""
    text = _NUMBER.sub(lambda match: "{{ n.zfill(%d) }}" % int(match["width"] or 0), pattern)  # noqa: UP031
    return re.sub(r"(?<!\{)\{name\}(?!\})", "{{ name }}", text)


def read_output_list(path: Path) -> tuple[Output, ...]:
    """What a file lists; its ending says how.

    UsageError, with the line, for what cannot be read.
    """
    if path.suffix.lower() in (".yml", ".yaml"):
        from growdisk.api.provisioning.recipe_file import outputs_in

        return outputs_in(path)
    try:
        # -sig: spreadsheets put a byte order mark first, which would belong to the first column's
        # name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            return tuple(_rows(path, csv.reader(file)))
    except OSError as error:
        raise unreadable(
            path, "check its name and permissions", error.strerror or str(error)
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no CSV",
            hint="write name,size and a line for each output",
            reason=str(error),
        ) from error


def _rows(path: Path, rows: Iterator[list[str]]) -> Iterator[Output]:
    heads = [head.strip() for head in next(rows, [])]
    if (
        "name" not in heads
        or not all(head.isidentifier() for head in heads)
        or len(set(heads)) < len(heads)
    ):
        raise UsageError(
            f"{path}:1: the first line names the columns",
            hint="write name,size,… each once, as words",
        )
    for number, row in enumerate(rows, start=2):
        if any(cell.strip() for cell in row):
            yield _output(f"{path}:{number}", heads, row)


def _output(place: str, heads: Sequence[str], row: Sequence[str]) -> Output:
    if len(row) != len(heads):
        raise UsageError(
            f"{place}: {len(row)} fields under {len(heads)} columns", hint="one for each column"
        )
    cells = {head: cell.strip() for head, cell in zip(heads, row, strict=True)}
    name, size = cells.pop("name"), cells.pop("size", "")
    if not name:
        raise UsageError(f"{place}: it has no name", hint="every output needs one")
    try:
        return Output(Path(name), parse_goal_size(size) if size else None, cells)
    except BadSize as error:
        raise UsageError(
            f"{place}: {error.what}", hint=error.what_to_do, reason=error.why
        ) from error

"""What playbooks may call in expressions beside jinja2's own: the filters and tests of Ansible that reach no file,
under the same names and with the same answers; and `exists`, `file`, `directory`, which only ask whether one is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from growdisk.host.yaml_reader import is_mapping
from growdisk.playbook.options import truth_of
from growdisk.units import format_size, parse_size


def _combine(first: Mapping[str, object], *others: Mapping[str, object]) -> dict[str, object]:
    merged = dict(first)
    for other in others:
        merged.update(other)
    return merged


def _ternary(value: object, yes: object, no: object, none: object = None) -> object:
    if value is None and none is not None:
        return none
    return yes if value else no


def _regex_replace(value: object, pattern: str, replacement: str = "") -> str:
    return re.sub(pattern, replacement, str(value))


def _splitext(path: object) -> tuple[str, str]:
    suffix = PurePosixPath(str(path)).suffix
    return str(path).removesuffix(suffix), suffix


def _has(key: str) -> Callable[[object], bool]:
    """A test on what a task registered."""
    return lambda result: is_mapping(result) and result.get(key) is True


FILTERS: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        "bool": lambda value: truth_of(value) is True,
        "basename": lambda path: PurePosixPath(str(path)).name,
        "dirname": lambda path: str(PurePosixPath(str(path)).parent),
        "splitext": _splitext,
        "combine": _combine,
        "ternary": _ternary,
        "regex_replace": _regex_replace,
        "to_json": lambda value: json.dumps(value, default=str),
        "to_nice_json": lambda value: json.dumps(value, default=str, indent=4, sort_keys=True),
        "from_json": json.loads,
        "human_to_bytes": lambda text: parse_size(str(text)).bytes,
        "human_readable": lambda size: format_size(int(size)),
    }
)

TESTS: Mapping[str, Callable[..., bool]] = MappingProxyType(
    {
        "failed": _has("failed"),
        "succeeded": lambda result: not _has("failed")(result),
        "success": lambda result: not _has("failed")(result),
        "changed": _has("changed"),
        "skipped": _has("skipped"),
        "match": lambda value, pattern: re.match(pattern, str(value)) is not None,
        "search": lambda value, pattern: re.search(pattern, str(value)) is not None,
        "exists": lambda path: Path(str(path)).exists(),
        "file": lambda path: Path(str(path)).is_file(),
        "directory": lambda path: Path(str(path)).is_dir(),
    }
)

"""docs/json.md names every key of the schema.

That it lists every error, test_architecture.py looks after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/json.md").read_text()
KINDS: dict[str, Any] = json.loads((ROOT / "growdisk/schema/growdisk-1.schema.json").read_text())[
    "$defs"
]


def keys_in(schema: Any) -> Iterator[str]:
    """Every key that a document may have, at any depth."""
    parts = (
        schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    )
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
    for part in parts:
        yield from keys_in(part)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_the_schema_is_named(kind: str) -> None:
    assert [key for key in dict.fromkeys(keys_in(KINDS[kind])) if f"`{key}`" not in PAGE] == []

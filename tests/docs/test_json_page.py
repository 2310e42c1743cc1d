"""docs/json.md names all that growdisk prints for programs: every key of the schema, every error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/json.md").read_text()
KINDS: dict[str, Any] = json.loads((ROOT / "growdisk/schema/growdisk-1.schema.json").read_text())["$defs"]


def keys_in(schema: Any) -> Iterator[str]:
    """Every key that a document may have, at any depth."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
    for part in parts:
        yield from keys_in(part)


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_the_schema_is_named(kind: str) -> None:
    assert [key for key in dict.fromkeys(keys_in(KINDS[kind])) if f"`{key}`" not in PAGE] == []


def test_every_error_is_listed_as_it_is() -> None:
    """In a process of its own: the errors are found by importing all of growdisk, and tests define some too."""
    code = "from setup.error_ids import *; import sys; sys.stdout.write(with_table(PAGE.read_text()))"
    wanted = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert wanted == PAGE, "setup/error_ids.py writes the table"

"""The figures of docs/benchmarks.md, from the numbers that were kept."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import plot

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs/benchmarks.md"
NAMES = ("expand", "fleet", "flat", "layouts", "engine", "everyday", "start_up", "listing")
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
PICTURE = "expand.svg"


def rewritten(text: str) -> str:
    """`text` with today's figures between the marks."""
    before, found, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not found or not ends:
        raise SystemExit(f"benchmarks: {PAGE.name} has lost its mark {BEGIN}")
    return f"{before}{BEGIN}\n\n{figures()}\n\n{END}{after}"


def figures() -> str:
    parts = []
    for name in NAMES:
        if (result := kept(name)) is not None:
            module = import_module(f"benchmarks.{name}")
            parts.append("\n".join(getattr(module, "summary", module.rows)(result)).strip())
            if name == "expand":
                parts.append(
                    f"![Seconds by tool, and by step of a run](../benchmarks/results/{PICTURE})"
                )
    return "\n\n".join(parts)


def write() -> None:
    """The page, the picture, and the tables that are too long for the page."""
    PAGE.write_text(rewritten(PAGE.read_text()))
    if (expand := kept("expand")) is not None:
        (RESULTS / PICTURE).write_text(plot.drawn(expand))
    for name in NAMES:
        module = import_module(f"benchmarks.{name}")
        if hasattr(module, "summary") and (result := kept(name)) is not None:
            (RESULTS / f"{name}.md").write_text("\n".join(module.rows(result)).strip() + "\n")


def kept(name: str) -> dict[str, Any] | None:
    file = RESULTS / f"{name}.json"
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    return result

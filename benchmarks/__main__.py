"""python -m benchmarks [NAME...] [REPEATS]: measures, keeps the raw numbers, and writes the README's figures from them.

NAME: expand, fleet, flat, layouts, engine, start_up (all of them without one); `readme` writes the figures anew from
what was kept. `engine:WORD` measures the images with WORD in their name, and keeps the others' numbers.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import plot

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"
NAMES = ("expand", "fleet", "flat", "layouts", "engine", "start_up")
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
USUAL = 5


def main(words: list[str]) -> int:
    numbers = [int(word) for word in words if word.isdigit()]
    asked = [word for word in words if not word.isdigit()]
    RESULTS.mkdir(exist_ok=True)
    for word in asked or NAMES:
        name, _, only = word.partition(":")
        if name != "readme":
            _keep(name, only, numbers[0] if numbers else USUAL)
    _write_readme()
    return 0


def _keep(name: str, only: str, repeats: int) -> None:
    if name not in NAMES:
        raise SystemExit(f"benchmarks: no '{name}'; there are: {', '.join(NAMES)}, readme")
    compare = import_module(f"benchmarks.{name}").compare
    load = os.getloadavg()[0]
    result: dict[str, Any] = compare(repeats, only) if only else compare(repeats)
    if only and (RESULTS / f"{name}.json").exists():
        before = json.loads((RESULTS / f"{name}.json").read_text())
        result = {**result, "images": {**before.get("images", {}), **result["images"]}}
    machine = {
        "system": platform.platform(), "processors": os.cpu_count(), "load before": load,
        "load after": os.getloadavg()[0],
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
    }  # fmt: skip
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n")
    print("\n".join(import_module(f"benchmarks.{name}").rows(result)), flush=True)


def _write_readme() -> None:
    """What stands between the two marks, from the kept numbers."""
    parts = []
    for name in NAMES:
        kept = RESULTS / f"{name}.json"
        if kept.exists():
            result, module = json.loads(kept.read_text()), import_module(f"benchmarks.{name}")
            parts.append("\n".join(getattr(module, "summary", module.rows)(result)).strip())
            if hasattr(module, "summary"):
                (RESULTS / f"{name}.md").write_text("\n".join(module.rows(result)))
            if name == "expand":
                (RESULTS / "expand.svg").write_text(plot.drawn(result))
                parts.append("![Seconds by tool, and by step of a run](benchmarks/results/expand.svg)")
    text = README.read_text()
    before, found, rest = text.partition(BEGIN)
    if not found or END not in rest:
        raise SystemExit(f"benchmarks: the README has lost its mark {BEGIN}")
    README.write_text(before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

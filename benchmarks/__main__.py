"""python -m benchmarks [NAME...] [REPEATS]: measures, keeps the raw numbers, and writes the README's figures from them.

NAME: expand, fleet, flat, layouts, engine, start_up (all of them without one); `readme` writes the figures anew from
what was kept. `engine:WORD` and `layouts:WORD` measure what has WORD in its name, and keep the other rows.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from benchmarks import readme

USUAL = 5


def main(words: list[str]) -> int:
    numbers = [int(word) for word in words if word.isdigit()]
    asked = [word for word in words if not word.isdigit()] or readme.NAMES
    readme.RESULTS.mkdir(exist_ok=True)
    for word in asked:
        name, _, only = word.partition(":")
        if name != "readme":
            _measure(name, only, numbers[0] if numbers else USUAL)
            readme.write()  # after each: an interrupted run has not been for nothing
    readme.write()
    return 0


def _measure(name: str, only: str, repeats: int) -> None:
    if name not in readme.NAMES:
        raise SystemExit(f"benchmarks: no '{name}'; there are: {', '.join(readme.NAMES)}, readme")
    module = import_module(f"benchmarks.{name}")
    load = os.getloadavg()[0]
    result: dict[str, Any] = module.compare(repeats, only) if only else module.compare(repeats)
    if only:
        rows = (readme.kept(name) or {}).get(module.ROWS, {}) | result[module.ROWS]
        result[module.ROWS] = {row: rows[row] for row in module.names() if row in rows}
    machine = {
        "system": platform.platform(), "processors": os.cpu_count(),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "load before": load, "load after": os.getloadavg()[0], "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }  # fmt: skip
    (readme.RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n")
    print("\n".join(module.rows(result)), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

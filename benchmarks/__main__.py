"""python -m benchmarks [NAME...] [REPEATS]: measures, and writes docs/benchmarks.md.

The raw numbers are kept.

NAME: expand, fleet, flat, layouts, engine, everyday, start_up, listing (all of them without one);
`page` writes the figures again from what was kept. `engine:WORD`, `everyday:WORD` and
`layouts:WORD` measure what has WORD in its name, and keep the other rows. `images` stands for
engine, everyday, start_up and listing: what the image engine's figures are, and with 2 repeats
about a quarter of an hour on a machine that does nothing else.
"""

from __future__ import annotations

import compileall
import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import growdisk
from benchmarks import page

USUAL = 5
IMAGES = ("engine", "everyday", "start_up", "listing")


def main(words: list[str]) -> int:
    numbers = [int(word) for word in words if word.isdigit()]
    asked = [word for word in words if not word.isdigit()] or page.NAMES
    page.RESULTS.mkdir(exist_ok=True)
    # where Python keeps no bytecode by itself
    compileall.compile_dir(Path(growdisk.__file__).parent, quiet=1)
    for word in chain.from_iterable(IMAGES if name == "images" else (name,) for name in asked):
        name, _, only = word.partition(":")
        if name != "page":
            _measure(name, only, numbers[0] if numbers else USUAL)
            page.write()  # after each: an interrupted run has not been for nothing
    page.write()
    return 0


def _measure(name: str, only: str, repeats: int) -> None:
    if name not in page.NAMES:
        raise SystemExit(f"benchmarks: no '{name}'; there are: {', '.join(page.NAMES)}, page")
    module = import_module(f"benchmarks.{name}")
    load = os.getloadavg()[0]
    result: dict[str, Any] = module.compare(repeats, only) if only else module.compare(repeats)
    if only:
        rows = (page.kept(name) or {}).get(module.ROWS, {}) | result[module.ROWS]
        result[module.ROWS] = {row: rows[row] for row in module.names() if row in rows}
    machine = {
        "system": platform.platform(), "processors": os.cpu_count(),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "load before": load, "load after": os.getloadavg()[0],
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }  # fmt: skip
    (page.RESULTS / f"{name}.json").write_text(
        json.dumps({"machine": machine, **result}, indent=1) + "\n"
    )
    print("\n".join(module.rows(result)), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

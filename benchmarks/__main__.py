"""python -m benchmarks [expand|engine] [REPEATS]: measures, prints the tables of the README, keeps the raw numbers."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from benchmarks import engine, expand

RESULTS = Path(__file__).parent / "results"
TABLES = {"expand": (expand, 3), "engine": (engine, 5)}


def main(words: list[str]) -> int:
    wanted = [word for word in words if word in TABLES] or list(TABLES)
    numbers = [int(word) for word in words if word.isdigit()]
    RESULTS.mkdir(exist_ok=True)
    for name in wanted:
        module, usual = TABLES[name]
        repeats = numbers[0] if numbers else usual
        result = module.compare(repeats)
        kept = {"machine": platform.platform(), "repeats": repeats, **result}
        (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
        print("\n".join(module.rows(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

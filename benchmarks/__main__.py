"""python -m benchmarks [REPEATS]: measures, prints the tables of the README, keeps the raw numbers in results/."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

from benchmarks import expand

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    result = expand.compare(repeats)
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": platform.platform(), "repeats": repeats, **result}
    (RESULTS / "expand.json").write_text(json.dumps(kept, indent=1) + "\n")
    print("\n".join(expand.rows(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""python -m tests.fuzz.disks [SECONDS [FIRST SEED]], or SEED=7 for one: exit 1 on a fault."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter

from tests.fuzz.disks.trial import attempt, folder_for_trials


def main() -> int:
    # As after Ctrl-C: the kernels end, and the disk goes.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "SEED" in os.environ:
        outcome = attempt(int(os.environ["SEED"]), folder_for_trials())
        sys.stdout.write(f"{outcome}\n")
        return 1 if outcome.faults else 0
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 10**9
    end, seen, bad = time.monotonic() + seconds, Counter[str](), list[int]()
    while time.monotonic() < end:
        outcome = attempt(seed, folder_for_trials())
        seen[outcome.kind] += 1
        if outcome.faults:
            bad.append(seed)
        if outcome.faults or "-v" in sys.argv:
            sys.stdout.write(f"{outcome}\n")
            sys.stdout.flush()
        seed += 1
    sys.stdout.write(f"{sum(seen.values())} disks: {dict(seen)}; with faults: {bad or 'none'}\n")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())

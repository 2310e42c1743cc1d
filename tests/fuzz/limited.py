"""Children with little memory and time, for images that are meant to hurt."""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

MEMORY = 400 << 20  # what a verb may take, whatever an image says


# a file of 2 MiB, and a passphrase to be tried at each opening
SLOW = {"luks": 8, "luks-data-file": 8}


COUNT = int(os.environ.get("MUTANTS", "60"))


ORDER = int(os.environ.get("MUTANTS_FROM", "0"))


def in_limited_child(action: Callable[[], list[str]], answer: Path) -> list[str]:
    """What `action` returns, in a process that can take MEMORY bytes more than it has."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY, resource.RLIM_INFINITY))
            answer.write_text(json.dumps(action()))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found: list[str] = json.loads(answer.read_text())
    return found

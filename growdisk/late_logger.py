"""A logger that loads `logging` for nobody: if it is not loaded, nobody listens.

Loading it takes 3 ms, and a command without --verbose or --show-commands says nothing with it.
"""

from __future__ import annotations

import sys


class LateLogger:
    """The logger `name` of the standard library, as soon as somebody has loaded that."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *values: object) -> None:
        if (logging := sys.modules.get("logging")) is not None:
            logging.getLogger(self._name).debug(message, *values)

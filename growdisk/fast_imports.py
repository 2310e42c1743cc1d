"""Libraries without what they load and hardly use, which takes 5 to 15 ms of every command.

pathlib loads urllib.parse, and with that ipaddress, for Path.as_uri alone. argparse loads gettext
for translations of its own few words, which growdisk has none of. msgspec asks typing_extensions
for what typing has since Python 3.11, and with that comes all that reads Python's own source. A
debug message asks for logging.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def load_standard_modules() -> None:
    """Load pathlib and argparse with stand-ins for modules that they hardly use.

    A later import of urllib.parse or gettext gets the real one.
    """
    if "urllib.parse" not in sys.modules:
        _load("pathlib", "urllib.parse", {"quote_from_bytes": _quoted})
    if "gettext" not in sys.modules:
        _load("argparse", "gettext", {"gettext": str, "ngettext": _one_or_more})


def _load(name: str, other: str, answers: dict[str, Callable[..., str]]) -> None:
    stand_in = type(sys)(other)
    stand_in.__dict__.update(answers)
    # Only while `name` is loaded, which takes the functions out of it by `from ... import`.
    sys.modules[other] = stand_in
    try:
        __import__(name)
    finally:
        del sys.modules[other]


def load_msgspec() -> None:
    """Load msgspec without typing_extensions. A later import of that gets the real one."""
    if "typing_extensions" not in sys.modules and "msgspec" not in sys.modules:
        # None makes an import fail; msgspec is prepared for that.
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
        try:
            __import__("msgspec")
        finally:
            del sys.modules["typing_extensions"]


def _quoted(path: bytes) -> str:
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(path)


def _one_or_more(one: str, more: str, count: int) -> str:
    return one if count == 1 else more


class LateLogger:
    """The logger `name` of the standard library; if `logging` is not loaded, nobody listens.

    Loading it takes 3 ms, and a command without --verbose or -x says nothing with it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *values: object) -> None:
        if (logging := sys.modules.get("logging")) is not None:
            logging.getLogger(self._name).debug(message, *values)

"""pathlib without what it loads for Path.as_uri alone: urllib.parse, and with that ipaddress; 4 ms of every command."""

from __future__ import annotations

import sys


def load_pathlib() -> None:
    """A stand-in answers while pathlib is loaded; whoever imports urllib.parse later gets the real one."""
    if "pathlib" in sys.modules or "urllib.parse" in sys.modules:
        return
    stand_in = type(sys)("urllib.parse")
    stand_in.__dict__["quote_from_bytes"] = _quoted
    sys.modules["urllib.parse"] = stand_in
    try:
        import pathlib  # noqa: F401
    finally:
        del sys.modules["urllib.parse"]


def _quoted(path: bytes) -> str:
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(path)

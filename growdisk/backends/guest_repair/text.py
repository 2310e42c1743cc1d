"""Guest files as text and back, without a byte changed: foreign encodings and line ends come through as they were."""

from __future__ import annotations

from collections.abc import Callable


def decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def change_lines(text: str, change: Callable[[str], str]) -> str:
    """Every line, without its newline, through `change`. A missing last newline stays missing."""
    return "\n".join(change(line) for line in text.split("\n"))

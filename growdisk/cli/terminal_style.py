"""How drawn lines reach a stream: with or without colour, in box characters or ASCII.

Python takes an unset locale for UTF-8, which nearly every terminal is; a user who sets LC_ALL=C
gets ASCII.
"""

from __future__ import annotations

import os
import re

from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import TextIO

USED, UNUSED, OPAQUE = "█", "▒", "░"
_BOXES = "┌┬┐└┴┘─│" + USED + UNUSED + OPAQUE
# Character by character for those of _BOXES.
_ASCII = "++++++-|#.:"
# SGR codes: 36 is cyan, 2 is faint.
_COLOURS = ((USED, "36"), (UNUSED, "2"), (OPAQUE, "2"))


@dataclass(frozen=True)
class TerminalStyle:
    colour: bool
    boxes: bool

    def line(self, text: str) -> str:
        """`text` as it is to be written."""
        if self.colour:
            # Before the glyphs become ASCII, as a # or a dot may stand in any name.
            for glyph, code in _COLOURS:
                text = re.sub(f"({glyph}+)", f"\x1b[{code}m\\1\x1b[0m", text)
        return text if self.boxes else text.translate(str.maketrans(_BOXES, _ASCII))


def style_for(stream: TextIO, color: str) -> TerminalStyle:
    """`color`: auto, always or never; auto: on a terminal, unless NO_COLOR is set or it is dumb."""
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return TerminalStyle(
        colour=color == "always" or (color == "auto" and wanted), boxes=_draws_boxes(stream)
    )


def _draws_boxes(stream: TextIO) -> bool:
    if os.environ.get("LC_ALL") in ("C", "POSIX"):
        return False
    try:
        # Latin-1 and the like have no box characters.
        _BOXES.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def printable(text: str) -> str:
    """Without control characters: what stands in an image must not move anybody's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

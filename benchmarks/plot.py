"""The picture of docs/benchmarks.md, as SVG: expand's time by tool, and its parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, BAR, GAP = 720, 200, 18, 8
ROOM = WIDTH - LEFT - 130
NAMES = {
    "direct": "growdisk (direct)", "uml": "growdisk (uml)", "guestfs": "growdisk (guestfs)",
    "guestfish": "qemu-img + guestfish", "virt-resize": "virt-resize",
}  # fmt: skip
COLOURS = ("#2f6f9f", "#5b9bd5", "#f2a541", "#7fb069", "#c8553d", "#9b7ebd", "#bbbbbb")
STYLE = "text{font:12px sans-serif;fill:#333}.h{font-weight:bold}.s{fill:#777}"


def drawn(result: Mapping[str, Any]) -> str:
    """`result` is expand.json."""
    below = 24 + len(NAMES) * (BAR + GAP) + 44
    shapes = [*_tools(result["tools"], 24), *_steps(result["steps"]["direct"], below)]
    height = below + BAR + 4 * 18
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 '
        f'0 {WIDTH} {height}">'
    )
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", ground, *shapes, "</svg>", ""])


def _tools(tools: Mapping[str, Any], top: int) -> Iterator[str]:
    """Bars on a logarithmic scale from 0.1 s, each with a line over its spread."""
    yield _text(8, top - 8, "Whole expand of a Debian guest by 10 GiB, logarithmic", "h")
    longest = max(fig["high"] for fig in tools.values())
    for index, (name, words) in enumerate(
        (name, words) for name, words in NAMES.items() if name in tools
    ):
        fig, y = tools[name], top + index * (BAR + GAP)
        yield _text(8, y + 13, words)
        yield _bar(
            LEFT, y, _log(fig["wall"], longest), COLOURS[0 if words.startswith("growdisk") else 6]
        )
        low, high = (LEFT + _log(fig[end], longest) for end in ("low", "high"))
        yield f'<path d="M{low:.1f} {y + BAR / 2}H{high:.1f}" stroke="#333"/>'
        ratio = fig["wall"] / tools["direct"]["wall"]
        yield _text(
            high + 6,
            y + 13,
            f"{fig['wall']:.2f} s" + (f", {ratio:.0f} ×" if name != "direct" else ""),
        )


def _steps(steps: Mapping[str, float], top: int) -> Iterator[str]:
    """One bar, in proportion, with a legend below."""
    whole = sum(steps.values())
    yield _text(8, top - 10, f"Where the {whole:.2f} s of growdisk (direct) go", "h")
    x = 8.0
    for index, (name, took) in enumerate(steps.items()):
        width = (WIDTH - 16) * took / whole
        yield _bar(x, top, width, COLOURS[index % len(COLOURS)])
        x += width
        row, column = divmod(index, 3)
        at, y = 8 + column * 230, top + BAR + 10 + row * 18
        yield (
            f'<rect x="{at}" y="{y}" width="10" height="10" '
            f'fill="{COLOURS[index % len(COLOURS)]}"/>'
        )
        yield _text(at + 16, y + 10, f"{name} {took:.2f} s")


def _log(seconds: float, longest: float) -> float:
    return ROOM * max(0.0, math.log(seconds / 0.1)) / math.log(longest / 0.1)


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}"'
        + (f' class="{kind}"' if kind else "")
        + f">{escape(words)}</text>"
    )

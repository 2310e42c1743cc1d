"""The pages of the documentation, cut into blocks of commands.

A block is run by a test unless a comment before it says why not:

    <!-- not run: web01 is a machine of libvirt -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<body>.*?)\n```$", re.MULTILINE | re.DOTALL
)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """`number` counts from 1 in its page. `skipped`: why it is not run."""

    page: Path
    number: int
    language: str
    body: str
    skipped: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.number}"

    @property
    def commands(self) -> list[str]:
        """Its command lines, without prompts, comments and the output that is shown with them."""
        lines = self.body.splitlines()
        prompted = any(line.startswith("$ ") for line in lines)
        chosen = [
            line.removeprefix("$ ") for line in lines if line.startswith("$ ") or not prompted
        ]
        return [stripped for line in chosen if (stripped := re.split(r"\s+#\s", line)[0].strip())]


def blocks(page: Path) -> Iterator[Block]:
    text = "\n" + page.read_text()
    for number, found in enumerate(_BLOCK.finditer(text.replace("\n\n```", "\n```")), start=1):
        reason = _NOT_RUN.search(found["before"])
        yield Block(
            page, number, found["language"], found["body"], reason["reason"] if reason else ""
        )


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page)]


def links(page: Path) -> list[str]:
    return [found["target"] for found in _LINK.finditer(page.read_text())]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def code_of(page: str) -> list[str]:
    """What a page of docs/ shows as code: its blocks, and words in backticks."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    fenced = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [*fenced.findall(text), *re.findall(r"`([^`]+)`", fenced.sub("", text))]

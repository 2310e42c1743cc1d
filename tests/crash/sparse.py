"""The content of a file in memory, stored as pages that are shared between copies.

A copy costs one pointer a page, so hundreds of nearly equal images can be made from one.
"""

from __future__ import annotations

from pathlib import Path

PAGE = 4096
_ZERO_PAGE = bytes(PAGE)


class SparseBytes:
    """`size` bytes, of which only pages that are not all zeros take memory."""

    def __init__(self, size: int = 0, pages: dict[int, bytes] | None = None) -> None:
        self.size = size
        self.pages = pages if pages is not None else {}

    @classmethod
    def load(cls, path: Path) -> SparseBytes:
        content = cls()
        with path.open("rb") as file:
            for number, page in enumerate(iter(lambda: file.read(PAGE), b"")):
                content.write(number * PAGE, page)
        return content

    def save(self, path: Path) -> None:
        """Write a sparse file."""
        with path.open("wb") as file:
            for number, page in sorted(self.pages.items()):
                file.seek(number * PAGE)
                file.write(page)
            file.truncate(self.size)

    def copy(self) -> SparseBytes:
        return SparseBytes(self.size, dict(self.pages))

    def read(self, offset: int, length: int) -> bytes:
        first, last = offset // PAGE, (offset + length - 1) // PAGE
        joined = b"".join([self.pages.get(number, _ZERO_PAGE) for number in range(first, last + 1)])
        return joined[offset - first * PAGE :][:length]

    def write(self, offset: int, data: bytes) -> None:
        """Store `data`; the file grows where it must."""
        self.size = max(self.size, offset + len(data))
        done = 0
        while done < len(data):
            number, inside = divmod(offset + done, PAGE)
            part = data[done : done + PAGE - inside]
            old = self.pages.get(number, _ZERO_PAGE)
            self._put(
                number,
                part if len(part) == PAGE else old[:inside] + part + old[inside + len(part) :],
            )
            done += len(part)

    def resize(self, size: int) -> None:
        if size < self.size:
            for number in [number for number in self.pages if number * PAGE >= size]:
                del self.pages[number]
            self._put(
                size // PAGE,
                self.pages.get(size // PAGE, _ZERO_PAGE)[: size % PAGE].ljust(PAGE, b"\0"),
            )
        self.size = size

    def _put(self, number: int, page: bytes) -> None:
        if page == _ZERO_PAGE:
            self.pages.pop(number, None)
        else:
            self.pages[number] = page

"""Guest files as text and back, byte for byte: foreign encodings and line ends are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_COMMENTS = (b"#", b";", b"//")
_STARTS = (b"/dev/", b"dev-")  # of most needles: a file without them need not be searched for each
# Also kernel modules and those of GRUB: most of the bytes below /boot and in an initrd.
_PROGRAM = b"\x7fELF"


def decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def change_lines(text: str, change: Callable[[str], str]) -> str:
    """Every line, without its newline, through `change`. A missing last newline stays missing."""
    return "\n".join(change(line) for line in text.split("\n"))


def is_said(content: bytes, needles: Sequence[bytes]) -> bool:
    """Whether one of `needles` is in it outside of comments. /dev/sda5 is not in /dev/sda55.

    Programs say nothing.
    """
    if content.startswith(_PROGRAM):
        return False
    absent = tuple(start for start in _STARTS if start not in content)
    present = [needle for needle in needles if not needle.startswith(absent) and needle in content]
    return any(
        _is_in(line, needle)
        for line in (content.split(b"\n") if present else ())
        for needle in present
    )


def _is_in(line: bytes, needle: bytes) -> bool:
    if needle not in line or line.lstrip().startswith(_COMMENTS):
        return False
    # With a digit after it, it is the name of another partition.
    return any(not after[:1].isdigit() for after in line.split(needle)[1:])

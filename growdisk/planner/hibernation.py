"""A hibernated guest: its memory is in swap space, a file or Windows' own, and it resumes there.

It remembers its file systems as they were: nothing of the disk may change before it has resumed and
been shut down. Only the signature shows it (Linux: kernel/power/swap.c; Windows: the first bytes of
hiberfil.sys).
"""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import Refused
from growdisk.filesystems.content import NtfsContent, SwapContent
from growdisk.planner.facts import Facts

_SHUT_DOWN = "start Windows and shut it down whole: shutdown /s /t 0"


def refuse_hibernated(facts: Facts) -> None:
    """By what lies in partitions and volumes."""
    for number in sorted(facts.contents):
        # Also in containers that were opened, and in logical volumes.
        for name, content in facts.leaves_of(number):
            if isinstance(content, SwapContent) and content.hibernated:
                reason = memory_in(f"the swap space of {name}", content.hibernated)
                raise hibernated(facts.image.path, number, content.hibernated, reason)
            if isinstance(content, NtfsContent) and content.hibernated:
                reason = (
                    f"Windows is hibernated in {name}, or was shut down with fast start-up, "
                    "which is half of that"
                )
                raise hibernated(facts.image.path, number, "hiberfil.sys", reason, _SHUT_DOWN)


def memory_in(place: str, signature: str) -> str:
    return f"its memory lies in {place} (signature {signature})"


def hibernated(
    path: Path,
    number: int,
    signature: str,
    reason: str,
    hint: str = "boot the guest and shut it down properly",
) -> Refused:
    """`number` is the partition's, 0 if it is a file in the guest."""
    return Refused.named(
        "hibernated",
        "the guest in {path} is hibernated",
        "{reason}",
        "{hint}, then run growdisk again",
        {"path": path, "number": number, "signature": signature, "reason": reason, "hint": hint},
    )

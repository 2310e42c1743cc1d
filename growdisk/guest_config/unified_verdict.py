"""What to do about a unified kernel image whose command line or initrd names what is gone."""

from __future__ import annotations

from typing import NamedTuple

from growdisk.guest_config.files import GuestFiles
from growdisk.guest_config.initrd_content import Maker, contents_of
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.resume_device import without_kernel_options
from growdisk.guest_config.unified import NO_RESUME, Unified

_REBUILD = "rebuild it in the guest (kernel-install add-all, or the tool that made it)"


class Changed(NamedTuple):
    """The whole file as it shall be; empty if it cannot be changed."""

    what: str
    content: bytes = b""


def changed_unified(content: bytes, swap: RemovedPartition, files: GuestFiles) -> Changed | None:
    """None if it is not a unified kernel image, or does not name the partition."""
    try:
        image = Unified(content)
    except ValueError:
        return None
    lines = image.command_lines
    without = [without_kernel_options(line, swap) for line in lines]
    obeyed = all(NO_RESUME in line.split() for line in lines)
    stale = "" if obeyed else _why_initrd_waits(image.initrd, swap)
    if without == lines and not stale:
        return None
    if image.is_signed:
        return Changed(f"signed, and names the partition: {_REBUILD}, then sign it")
    if stale and stale != NO_RESUME:
        return Changed(f"{stale}: {_REBUILD}")
    if stale:
        without = [
            line if NO_RESUME in line.split() else f"{line.rstrip()} {NO_RESUME}"
            for line in without
        ]
    new = image.with_command_lines(without)
    if new:
        return Changed("resume= in it replaced", new)
    return Changed(f"it has no room for {NO_RESUME}: {_REBUILD}")


def _why_initrd_waits(initrd: bytes, swap: RemovedPartition) -> str:
    """ "" if it does not; NO_RESUME if that on the command line is obeyed."""
    if not initrd:
        return ""
    contents = contents_of(initrd)
    if contents.unread:
        return f"its initrd is not readable here ({contents.unread})"
    naming = contents.naming(swap.needles())
    is_resume = contents.maker is Maker.INITRAMFS_TOOLS or all(
        name.startswith("etc/cmdline") for name in naming
    )
    return (
        ""
        if not naming
        else NO_RESUME
        if is_resume
        else f"{naming[0]} in its initrd names the partition"
    )

"""Initrds and unified kernel images after a partition is gone: what is written, or reported.

That is a block before them, another command line, or a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.filesystems.unpacking import Unpackable, unpacked
from growdisk.guest_config import initrd, places
from growdisk.guest_config.files import Change, GuestFiles, found
from growdisk.guest_config.initrd_content import contents_of
from growdisk.guest_config.initrd_verdict import OPENED, REMEDIES, verdict_of
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.unified import changed_unified

_NAMES = ("initrd", "initramfs", "booster")


def change_initrds(
    files: GuestFiles, swap: RemovedPartition, *, rooted: bool, plain: bool
) -> Iterator[Change]:
    """`plain`: initramfs-tools has made all of them, so that none must be unpacked."""
    for path in found(files, places.initrds(rooted=rooted)):
        head = files.read_start(path, initrd.HEAD)
        if initrd.is_wrapped(head):
            yield from _name_wrapped(files, path, swap)
        if (
            not initrd.is_initrd(head)
            or initrd.forgets(head, swap)
            or _is_packed_kernel(files, path, head)
        ):
            continue
        # Whether it has a RESUME is not looked up: without one the block does nothing.
        if plain and not (swap.mapped and _opens_containers(files, path, swap)):
            files.prepend(path, initrd.forgetting_block(swap))
            yield Change(path, "stale RESUME inside cleared")
        else:
            yield from _change_unpacked(files, path, swap)


def change_unified(files: GuestFiles, swap: RemovedPartition, *, rooted: bool) -> Iterator[Change]:
    for path in found(files, places.unified_kernels(rooted=rooted)):
        content = files.read(path)
        changed = changed_unified(content, swap, files)
        if changed is None:
            continue
        # Empty: it cannot be changed, and the guest would wait.
        if changed.content:
            files.write(path, changed.content)
        yield Change(path, changed.what, mended=bool(changed.content), waits=not changed.content)


def _is_packed_kernel(files: GuestFiles, path: str, head: bytes) -> bool:
    """Whether it is kernel8.img of a Raspberry Pi, which begins as a packed initrd does.

    With anything before it, it does not start any more.
    """
    # Cheap signs first: unpacking takes longest.
    if initrd.is_archive(head) or any(word in path.rpartition("/")[2] for word in _NAMES):
        return False
    try:
        return not initrd.is_archive(unpacked(files.read(path), len(head)))
    except Unpackable:
        return True


def _opens_containers(files: GuestFiles, path: str, swap: RemovedPartition) -> bool:
    """Whether the initrd opens what is encrypted in the partition, which no RESUME shows."""
    return any(
        name.startswith(OPENED) for name in contents_of(files.read(path)).naming(swap.needles())
    )


def _change_unpacked(files: GuestFiles, path: str, swap: RemovedPartition) -> Iterator[Change]:
    """One that only its content tells who made it."""
    verdict = verdict_of(contents_of(files.read(path)), swap, files)
    if verdict is None:
        return
    if verdict.block:
        files.prepend(path, verdict.block)
    yield Change(path, verdict.what, mended=bool(verdict.block), waits=not verdict.block)


def _name_wrapped(files: GuestFiles, path: str, swap: RemovedPartition) -> Iterator[Change]:
    contents = contents_of(files.read(path)[initrd.UBOOT_HEADER :])
    if verdict_of(contents, swap, files) is not None:
        what = (
            "made for U-Boot, and names the partition or cannot be read here: run "
            f"{REMEDIES[contents.maker]}"
        )
        yield Change(path, what, mended=False, waits=True)

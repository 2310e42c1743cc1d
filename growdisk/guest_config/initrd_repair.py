"""Changes initrds and unified kernel images that name a partition which is gone, or reports them.

An initrd gets a block before it, a unified image another command line; or there is a note on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from growdisk.fast_dataclass import NamedTuple
from growdisk.filesystems.unpacking import Unpackable, unpacked
from growdisk.guest_config import initrd, places
from growdisk.guest_config.boot_settings import without_kernel_options
from growdisk.guest_config.files import Change, GuestFiles, found, unmended
from growdisk.guest_config.initrd_content import Contents, Maker, contents_of
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.unified import NO_RESUME, Unified

_NAMES = ("initrd", "initramfs", "booster")
_DRACUT = ("/usr/lib/dracut", "/usr/bin/dracut", "/usr/sbin/dracut")
REMEDIES = {
    Maker.DRACUT: "dracut -f --regenerate-all",
    Maker.MKINITCPIO: "mkinitcpio -P",
    Maker.INITRAMFS_TOOLS: "update-initramfs -u -k all",
    Maker.UNKNOWN: "the tool that made it",
}
_REBUILD = "rebuild it in the guest (kernel-install add-all, or the tool that made it)"
_BY_BLOCKS = (
    "it has the command line, and where the blocks of the initrd are: make the initrd again in the "
    "guest, then run lilo or zipl"
)
_OPENED = "cryptroot/"  # what initramfs-tools opens before the root is there
# Read by dracut as if it stood on the kernel's command line: noresume speaks for it.
_COMMAND_LINES = "etc/cmdline"  # and etc/cmdline.d/


class _Verdict(NamedTuple):
    """`content`: a block to put before an initrd, or all of a unified image; empty: none helps."""

    what: str
    content: bytes = b""


def _carried_out(
    verdict: _Verdict | None, path: str, put: Callable[[str, bytes], None]
) -> Iterator[Change]:
    """None: nothing is to be done."""
    if verdict is None:
        return
    if verdict.content:
        put(path, verdict.content)
    yield Change(path, verdict.what, mended=bool(verdict.content), waits=not verdict.content)


def change_initrds(
    files: GuestFiles, gone: RemovedPartition, *, rooted: bool, plain: bool
) -> Iterator[Change]:
    """`plain`: initramfs-tools has made all of them, so that none must be unpacked."""
    # Of a changed initrd such a loader would read the old blocks, or half of it.
    if lists := found(files, places.of_boots(places.BLOCK_LISTS, rooted=rooted)):
        yield from (unmended(path, _BY_BLOCKS) for path in lists)
        return
    for path in found(files, places.of_boots(places.INITRDS, rooted=rooted)):
        head = files.read_start(path, initrd.HEAD)
        if initrd.is_wrapped(head):
            yield from _name_wrapped(files, path, gone)
        if (
            not initrd.is_initrd(head)
            or initrd.forgets(head, gone)
            or _is_packed_kernel(files, path, head)
        ):
            continue
        # Whether it has a RESUME is not looked up: without one the block does nothing.
        if plain and not (gone.mapped and _opens_containers(files, path, gone)):
            files.prepend(path, initrd.forgetting_block(gone))
            yield Change(path, "stale RESUME inside cleared")
        else:
            # Only its content tells who made it.
            verdict = _on_initrd(contents_of(files.read(path)), gone, files)
            yield from _carried_out(verdict, path, files.prepend)


def change_unified(files: GuestFiles, gone: RemovedPartition, *, rooted: bool) -> Iterator[Change]:
    for path in found(files, places.of_boots(places.UNIFIED_KERNELS, rooted=rooted)):
        yield from _carried_out(_on_unified(files.read(path), gone), path, files.write)


def _is_packed_kernel(files: GuestFiles, path: str, head: bytes) -> bool:
    """Whether it is kernel8.img of a Raspberry Pi, which may have nothing before it."""
    # Cheap signs first: unpacking takes longest.
    if initrd.is_archive(head) or any(word in path.rpartition("/")[2] for word in _NAMES):
        return False
    try:
        return not initrd.is_archive(unpacked(files.read(path), len(head)))
    except Unpackable:
        return True


def _opens_containers(files: GuestFiles, path: str, gone: RemovedPartition) -> bool:
    """Whether the initrd opens what is encrypted in the partition, which no RESUME shows."""
    return any(
        name.startswith(_OPENED) for name in contents_of(files.read(path)).naming(gone.needles())
    )


def _name_wrapped(files: GuestFiles, path: str, gone: RemovedPartition) -> Iterator[Change]:
    contents = contents_of(files.read(path)[initrd.UBOOT_HEADER :])
    if _on_initrd(contents, gone, files) is not None:
        what = (
            "made for U-Boot, and names the partition or cannot be read here: run "
            f"{REMEDIES[contents.maker]}"
        )
        yield unmended(path, what)


def _on_initrd(contents: Contents, gone: RemovedPartition, files: GuestFiles) -> _Verdict | None:
    """None if nothing in it names the partition."""
    maker = contents.maker
    if contents.unread:
        # What could be read may not show who made it: the guest's own tools tell.
        maker = Maker.DRACUT if any(map(files.exists, _DRACUT)) else maker
        return _Verdict(
            f"made by {maker.value}, and not readable here ({contents.unread}): run "
            f"{REMEDIES[maker]}"
        )
    naming = contents.naming(gone.needles())
    if not naming:
        return None
    # What is in cryptroot/ is opened whatever RESUME says: only a new initrd helps there.
    if maker is Maker.INITRAMFS_TOOLS and not any(name.startswith(_OPENED) for name in naming):
        return _Verdict("stale RESUME inside cleared", initrd.forgetting_block(gone))
    if maker is Maker.DRACUT and all(name.startswith(_COMMAND_LINES) for name in naming):
        return _Verdict(
            "made by dracut: noresume put before its resume=", initrd.noresume_block(gone)
        )
    first = next((name for name in naming if name.startswith(_OPENED)), naming[0])
    return _Verdict(
        f"made by {maker.value}, and {first} in it names the partition: run {REMEDIES[maker]}"
    )


def _on_unified(content: bytes, gone: RemovedPartition) -> _Verdict | None:
    """None if it is not a unified kernel image, or does not name the partition."""
    try:
        image = Unified(content)
    except ValueError:
        return None
    # What stands in the way, in this order: nothing to do; a signature, which any change breaks; an
    # initrd that noresume does not speak to; no room for it.
    lines = image.command_lines
    without = [without_kernel_options(line, gone) for line in lines]
    obeyed = all(NO_RESUME in line.split() for line in lines)
    stale = "" if obeyed else _why_initrd_waits(image.initrd, gone)
    if without == lines and not stale:
        return None
    if image.is_signed:
        return _Verdict(f"signed, and names the partition: {_REBUILD}, then sign it")
    if stale and stale != NO_RESUME:
        return _Verdict(f"{stale}: {_REBUILD}")
    if stale:
        without = [
            line if NO_RESUME in line.split() else f"{line.rstrip()} {NO_RESUME}"
            for line in without
        ]
    new = image.with_command_lines(without)
    if new:
        return _Verdict("resume= in it replaced", new)
    return _Verdict(f"it has no room for {NO_RESUME}: {_REBUILD}")


def _why_initrd_waits(initrd_inside: bytes, gone: RemovedPartition) -> str:
    """ "" if it does not; NO_RESUME if that on the command line is obeyed."""
    if not initrd_inside:
        return ""
    contents = contents_of(initrd_inside)
    if contents.unread:
        return f"its initrd is not readable here ({contents.unread})"
    naming = contents.naming(gone.needles())
    if not naming:
        return ""
    obeys = contents.maker is Maker.INITRAMFS_TOOLS or all(
        name.startswith(_COMMAND_LINES) for name in naming
    )
    return NO_RESUME if obeys else f"{naming[0]} in its initrd names the partition"

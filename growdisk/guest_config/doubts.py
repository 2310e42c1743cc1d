"""What might name the partition and stays: names of partition 5 of some disk, and links.

udev alone knows which disk by-id/ata-…-part5 is. NixOS has /etc/fstab as a link into its store,
made again at each switch: a change there would last until the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from growdisk.guest_config import places
from growdisk.guest_config.crypttab import nodes_made_of
from growdisk.guest_config.files import Change, GuestFiles, found
from growdisk.guest_config.fstab import Entry, parse_fstab
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_config.text import decode

_FSTAB, _CRYPTTAB = "/etc/fstab", "/etc/crypttab"
_LINK = (
    "it is a link and stays: take the partition out of what makes it (NixOS: swapDevices, "
    "fileSystems), and rebuild"
)
_OF_SOME_DISK = re.compile(r"/dev/(?:disk|mapper)/[^\s\"',;]+?-part\d+(?!\w)")
# What the kernel takes as well: the number of the device, or how many partitions it stands behind
# another.
_BY_NUMBER = re.compile(
    r"(?<![\w.-])resume=\"?(\d+:\d+|PARTUUID=[^\s\"']+/PARTNROFF=-?\d+)(?![\w:])"
)
_SWAP_TYPE = re.compile(r"^[ \t]*Type[ \t]*=[ \t]*swap[ \t\r]*$", re.MULTILINE)


def doubtful(files: GuestFiles, swap: RemovedPartition, *, rooted: bool) -> Iterator[Change]:
    """Names of this partition of some disk, and, in a root file system, links that name it."""
    others = (
        (*places.CRYPTTABS, *places.UNITS, *places.RESUME_FILES, *places.DRACUT_FILES)
        if rooted
        else ()
    )
    if rooted:
        yield from _in_fstab(files, swap)
    for path in found(files, (*others, *places.command_lines(rooted=rooted))):
        yield from _in_text(path, files, swap)
    if rooted:
        yield from _links(files, swap)
        yield from _made_again(files, swap)


def _in_fstab(files: GuestFiles, swap: RemovedPartition) -> Iterator[Change]:
    """If another line surely names the partition, these are of another disk."""
    for path in found(files, places.FSTABS):
        entries = list(parse_fstab(decode(files.read(path))))
        sure = any(swap.is_named_by(entry.source) for entry in entries)
        for entry in entries:
            if swap.may_be_named_by(entry.source) and _is_of(entry, swap):
                yield _left(path, entry.plain_source, waits=not sure)


def _is_of(entry: Entry, swap: RemovedPartition) -> bool:
    return entry.is_swap() or not swap.is_swap


def _in_text(path: str, files: GuestFiles, swap: RemovedPartition) -> Iterator[Change]:
    content = files.read(path)
    # Quick signs: most files have neither, and are not gone through by lines.
    by_number = swap.is_swap and b"resume=" in content
    if not (by_number or f"-part{swap.number}".encode() in content) or b"\0" in content[:4096]:
        return
    for line in decode(content).split("\n"):
        if not line.lstrip().startswith("#"):
            names = [name for name in _OF_SOME_DISK.findall(line) if swap.may_be_named_by(name)]
            for name in (*names, *(_BY_NUMBER.findall(line) if by_number else ())):
                yield _left(path, name, waits=True)


def _left(path: str, name: str, *, waits: bool) -> Change:
    return Change(
        path, f"names {name}, which is left: it may be of another disk", mended=False, waits=waits
    )


def _links(files: GuestFiles, swap: RemovedPartition) -> Iterator[Change]:
    if _is_link(files, _FSTAB):
        entries = parse_fstab(decode(files.read(_FSTAB)))
        if any(swap.is_named_by(entry.source) and _is_of(entry, swap) for entry in entries):
            yield Change(_FSTAB, _LINK, mended=False, waits=True)
    if _is_link(files, _CRYPTTAB) and any(nodes_made_of(decode(files.read(_CRYPTTAB)), swap)):
        yield Change(_CRYPTTAB, _LINK, mended=False, waits=True)


def _made_again(files: GuestFiles, swap: RemovedPartition) -> Iterator[Change]:
    """systemd-repart takes a swap partition for its own by its type, whatever it is called."""
    for path in found(files, places.DEFINITIONS) if swap.is_swap else ():
        if _SWAP_TYPE.search(decode(files.read(path))):
            what = "systemd-repart fails if it cannot make a swap partition again: remove it"
            yield Change(path, what, mended=False, waits=True)


def _is_link(files: GuestFiles, path: str) -> bool:
    # exists() follows links, glob() leaves them out.
    return files.exists(path) and not files.glob(path)

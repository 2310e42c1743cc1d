"""Repairs a guest whose swap partition is gone, so that its next boot neither fails nor waits.

Idempotent. Three kinds of places make a boot wait: fstab and its like (90 s), an initrd (30 s, or
200), and the kernel's command line; others would bring them back at the next update-initramfs or
update-grub. places.py lists them all. What cannot be changed from here is reported with the command
that does it inside the guest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from growdisk.fast_dataclass import replace
from growdisk.guest_config import places
from growdisk.guest_config.boot_settings import (
    nodes_opened,
    resume_none,
    without_dracut_devices,
    without_kernel_options,
)
from growdisk.guest_config.etc_tables import (
    FSTAB,
    SWAP_FILE,
    nodes_made_of,
    parse_fstab,
    with_swap_file,
    without_container,
    without_swap,
)
from growdisk.guest_config.files import (
    Change,
    GuestFiles,
    Pending,
    decode,
    encode,
    found,
    is_said,
    settings,
    unmended,
)
from growdisk.guest_config.initrd_repair import change_initrds, change_unified
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_config.systemd_units import silenced, without_wants

_CRYPTTAB = "/etc/crypttab"
_GRUB_ENVIRONMENT = "grubenv"
INITRAMFS_TOOLS = (
    "/usr/sbin/update-initramfs",
    "/usr/share/initramfs-tools",
    "/etc/initramfs-tools",
)
OTHER_MAKERS = (
    "/usr/lib/dracut",
    "/usr/bin/dracut",
    "/usr/sbin/dracut",
    "/usr/bin/mkinitcpio",
    "/usr/bin/booster",
    "/usr/sbin/mkinitfs",
    "/sbin/mkinitfs",
    "/usr/bin/mkosi-initrd",
)
_ROOTS = ("/", "/boot")
_OTHERWISE = "names the partition in a way that is not changed from here"


def repair_guest(
    files: GuestFiles,
    gone: RemovedPartition,
    policy: SwapRemedy,
    *,
    plain_initrds: bool | None = None,
) -> tuple[Change, ...]:
    """Remove `gone` from all files that name it; policy FILE puts /swapfile in its place.

    The caller makes that file. `plain_initrds`: initramfs-tools has made all initrds, so that none
    must be unpacked to know that; None: this guest's own files tell, and all the names of `gone` as
    well (known_in). A second call finds nothing to do and reports no changes.
    """
    if plain_initrds is None:
        plain_initrds, gone = has_plain_initrds(files), known_in(files, gone)
    return tuple(_changes(files, gone, policy, plain_initrds))


def left_to_repair(
    files: GuestFiles, gone: RemovedPartition, policy: SwapRemedy
) -> tuple[Change, ...]:
    """What repair_guest() would change; nothing is written."""
    return tuple(change for change in repair_guest(Pending(files), gone, policy) if change.mended)


def has_plain_initrds(files: GuestFiles) -> bool:
    """Whether initramfs-tools is the only one that makes initrds there.

    Of a removed dracut its folders remain.
    """
    return any(map(files.exists, INITRAMFS_TOOLS)) and not any(map(files.exists, OTHER_MAKERS))


def is_system(files: GuestFiles) -> bool:
    """Whether this is a root file system, not a /boot or an EFI partition by itself."""
    return files.exists("/etc") or files.exists("/ostree/deploy")


def _changes(
    files: GuestFiles, gone: RemovedPartition, policy: SwapRemedy, plain_initrds: bool
) -> Iterator[Change]:
    rooted = is_system(files)
    if rooted:
        yield from _change_settings(files, gone, policy)
    else:
        yield from doubtful(files, gone, rooted=False)
    loaders = places.command_lines(rooted=rooted)
    yield from _edit(files, gone, loaders, without_kernel_options, "resume= removed")
    # An initrd of initramfs-tools names swap alone (RESUME), and what it opens. One of another
    # maker may name anything.
    if gone.is_swap or gone.mapped or not plain_initrds:
        yield from change_initrds(files, gone, rooted=rooted, plain=plain_initrds)
    yield from change_unified(files, gone, rooted=rooted)
    if rooted:  # Last: it tells the names of what was opened.
        words = "line made a comment"
        yield from _edit(files, gone, places.CRYPTTABS, without_container, words)


def _change_settings(
    files: GuestFiles, gone: RemovedPartition, policy: SwapRemedy
) -> Iterator[Change]:
    line = "swap line made a comment" if gone.is_swap else "line made a comment"
    where = f"swap is {SWAP_FILE}" if policy is SwapRemedy.FILE else line
    # Looked for before fstab is changed: a line that surely names the partition is gone afterwards.
    doubts = list(doubtful(files, gone, rooted=True))
    yield from _edit(files, gone, places.FSTABS, partial(without_swap, policy=policy), where)
    if policy is SwapRemedy.FILE:
        yield from _name_swap_file(files, where)
    yield from doubts
    yield from _mask_units(files, gone)
    yield from _edit(files, gone, places.WANTERS, without_wants, "no longer wanted")
    yield from _edit(files, gone, places.RESUME_FILES, resume_none, "RESUME=none")
    yield from _edit(
        files, gone, places.DRACUT_FILES, without_dracut_devices, "no longer looked for"
    )


def _mask_units(files: GuestFiles, gone: RemovedPartition) -> Iterator[Change]:
    """With the automount unit of what is mounted: without the other it would fail."""
    hints = gone.hints()
    for path, old in settings(files, places.UNITS):
        # An empty unit is masked already.
        if not _has_any(old + encode(path), hints) or not old or silenced(decode(old), gone, path):
            continue
        for masked in (path, *(other for other in _automounts(files, path) if files.read(other))):
            files.write(masked, b"")
            yield Change(masked, "masked")


def _automounts(files: GuestFiles, path: str) -> list[str]:
    """Of a mount unit, in whichever folder."""
    folder, _, name = path.rpartition("/")
    if not name.endswith(".mount"):
        return []
    folders = (folder, *(pattern.rpartition("/")[0] for pattern in places.UNITS))
    return found(files, [f"{each}/{name.removesuffix('mount')}automount" for each in folders])


def _name_swap_file(files: GuestFiles, where: str) -> Iterator[Change]:
    """In fstab, if no line of swap became its."""
    for path, content in settings(files, (FSTAB,)):
        old = decode(content)
        if (new := with_swap_file(old)) != old:
            files.write(path, encode(new))
            yield Change(path, where)


def _has_any(content: bytes, hints: Sequence[bytes]) -> bool:
    lowered = content.lower()
    return any(hint in lowered for hint in hints)


def known_in(files: GuestFiles, gone: RemovedPartition) -> RemovedPartition:
    """The partition with the names that crypttab and the kernel's options give its content.

    And with those of the disk that root's line has.
    """
    made: list[str] = []
    if rooted := is_system(files):
        entries = [entry for text in _texts(files, places.FSTABS) for entry in parse_fstab(text)]
        # Where root or /boot lies tells by what name this guest knows its disk.
        gone = gone.on_disk_of(e.plain_source for e in entries if e.mount_point in _ROOTS)
        made += [n for text in _texts(files, places.CRYPTTABS) for n in nodes_made_of(text, gone)]
    options = _texts(files, places.command_lines(rooted=rooted))
    made += [node for text in options for node in nodes_opened(text, gone)]
    return replace(gone, mapped=tuple(dict.fromkeys((*gone.mapped, *made))))


def _texts(files: GuestFiles, patterns: Sequence[str]) -> Iterator[str]:
    return (decode(content) for _, content in settings(files, patterns))


def _edit(
    files: GuestFiles,
    gone: RemovedPartition,
    patterns: Sequence[str],
    change: Callable[[str, RemovedPartition], str],
    what: str,
) -> Iterator[Change]:
    """Change each file that may name the partition."""
    hints, needles = gone.hints(), gone.needles()
    for path, old in settings(files, patterns):
        # What has a NUL near its start is no text, or UTF-16: a script of U-Boot with its header.
        is_text = b"\0" not in old[:4096]
        if is_text and not _has_any(old, hints):
            continue
        new = encode(change(decode(old), gone)) if is_text else old
        if new != old:
            # GRUB's environment block has a fixed size, filled up with '#'.
            is_block = path.endswith(_GRUB_ENVIRONMENT)
            files.write(path, new.ljust(len(old), b"#") if is_block else new)
            yield Change(path, what)
        # Looked at after the change: a spelling that the change does not know must not pass
        # unnoticed.
        if is_said(new, needles):
            yield unmended(path, _OTHERWISE)


# --- doubts: what might name the partition, and stays --------------------------------------------

# udev alone knows which disk by-id/ata-…-part5 is. NixOS has /etc/fstab as a link into its store,
# made again at each switch: a change there would last until the next one.
_LEFT = "names {name}, which is left: it may be of another disk"
_LINK = (
    "it is a link and stays: take the partition out of what makes it (NixOS: swapDevices, "
    "fileSystems), and rebuild"
)
_OF_SOME_DISK = r"/dev/(?:disk|mapper)/[^\s\"',;]{1,512}?-part(?:/by-partnum/)?\d+(?!\w)"
# What the kernel takes as well: the number of the device, or how many partitions it comes after
# another.
_BY_NUMBER = r"(?<![\w.-])resume=\"?(\d+:\d+|PARTUUID=[^\s\"']+/PARTNROFF=-?\d+)(?![\w:])"
_SWAP_TYPE = r"(?m)^[ \t]*Type[ \t]*=[ \t]*swap[ \t\r]*$"


def doubtful(files: GuestFiles, gone: RemovedPartition, *, rooted: bool) -> Iterator[Change]:
    """Names of this partition of some disk, and, in a root file system, links that name it."""
    loaders = places.command_lines(rooted=rooted)
    if not rooted:
        yield from _in_texts(files, loaders, gone)
        return
    yield from _in_fstab(files, gone)
    settings = (*places.CRYPTTABS, *places.UNITS, *places.RESUME_FILES, *places.DRACUT_FILES)
    yield from _in_texts(files, (*settings, *loaders), gone)
    yield from _links(files, gone)
    yield from _made_again(files, gone)


def _in_fstab(files: GuestFiles, gone: RemovedPartition) -> Iterator[Change]:
    """If another line surely names the partition, these are of another disk."""
    for path, content in settings(files, places.FSTABS):
        entries = list(parse_fstab(decode(content)))
        sure = any(gone.is_named_by(entry.source) for entry in entries)
        for entry in entries:
            if gone.may_be_named_by(entry.source) and entry.fits(gone):
                yield unmended(path, _LEFT.format(name=entry.plain_source), waits=not sure)


def _in_texts(
    files: GuestFiles, patterns: Sequence[str], gone: RemovedPartition
) -> Iterator[Change]:
    for path, content in settings(files, patterns):
        # Quick signs: most files have neither, and are not gone through by lines.
        by_number = gone.is_swap and b"resume=" in content
        numbers = (f"{name}{gone.number}".encode() for name in ("-part", "-part/by-partnum/"))
        has_sign = by_number or any(number in content for number in numbers)
        if not has_sign or b"\0" in content[:4096]:
            continue
        for line in decode(content).split("\n"):
            if not line.lstrip().startswith("#"):
                names = [
                    name for name in re.findall(_OF_SOME_DISK, line) if gone.may_be_named_by(name)
                ]
                for name in (*names, *(re.findall(_BY_NUMBER, line) if by_number else ())):
                    yield unmended(path, _LEFT.format(name=name))


def _links(files: GuestFiles, gone: RemovedPartition) -> Iterator[Change]:
    if _is_link(files, FSTAB):
        entries = parse_fstab(decode(files.read(FSTAB)))
        if any(entry.is_of(gone) for entry in entries):
            yield unmended(FSTAB, _LINK)
    if _is_link(files, _CRYPTTAB) and any(nodes_made_of(decode(files.read(_CRYPTTAB)), gone)):
        yield unmended(_CRYPTTAB, _LINK)


def _made_again(files: GuestFiles, gone: RemovedPartition) -> Iterator[Change]:
    """systemd-repart takes a swap partition for its own by its type, whatever it is called."""
    for path, content in settings(files, places.DEFINITIONS if gone.is_swap else ()):
        if re.search(_SWAP_TYPE, decode(content)):
            what = "systemd-repart fails if it cannot make a swap partition again: remove it"
            yield unmended(path, what)


def _is_link(files: GuestFiles, path: str) -> bool:
    # exists() follows links, glob() leaves them out.
    return files.exists(path) and not files.glob(path)

"""Repairs a guest whose swap partition is gone, so that its next boot neither fails nor waits. Idempotent.

Three places make a boot wait: fstab (90 s), RESUME inside each initrd (30 s), and resume= on the kernel's command
line; and three more would bring them back at the next update-initramfs or update-grub. Units of systemd and crypttab
wait as well. What cannot be mended from here is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from growdisk.backends.guest_repair import initrd
from growdisk.backends.guest_repair.crypttab import nodes_made_of, without_container
from growdisk.backends.guest_repair.dracut import without_devices
from growdisk.backends.guest_repair.fstab import SWAP_FILE, with_swap_file, without_swap
from growdisk.backends.guest_repair.resume import resume_none, without_kernel_options
from growdisk.backends.guest_repair.swap_identity import SwapIdentity, SwapPolicy
from growdisk.backends.guest_repair.text import decode, encode
from growdisk.backends.guest_repair.units import silenced

_FSTAB, _CRYPTTAB = "/etc/fstab", "/etc/crypttab"
_UNITS = ("/etc/systemd/system/*.swap", "/etc/systemd/system/*.mount", "/usr/local/lib/systemd/system/*.swap")
_DRACUT_FILES = ("/etc/dracut.conf", "/etc/dracut.conf.d/*.conf")
_INITRAMFS_TOOLS = "/etc/initramfs-tools"
_RESUME_FILES = (f"{_INITRAMFS_TOOLS}/initramfs.conf", f"{_INITRAMFS_TOOLS}/conf.d/*")
_INITRDS = "/boot/initrd.img*"
_DRACUT_INITRDS = ("/boot/initramfs-*.img", "/boot/initrd-*", "/boot/initrd.img*")
_GRUB_ENVIRONMENT = "grubenv"
_COMMAND_LINE_FILES = (
    "/etc/default/grub", "/etc/default/grub.d/*", "/etc/kernel/cmdline", "/etc/cmdline.d/*.conf",
    "/boot/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf", "/efi/loader/entries/*.conf",
    "/boot/grub/grub.cfg", "/boot/grub/custom.cfg", "/boot/grub2/grub.cfg", "/boot/grub2/grubenv",
    "/boot/extlinux/extlinux.conf", "/boot/syslinux/syslinux.cfg",
)  # fmt: skip


class GuestFiles(Protocol):
    """A guest's files by their paths in the guest. Writing keeps a file's inode, owner, mode and attributes."""

    def read(self, path: str) -> bytes: ...
    def read_start(self, path: str, length: int) -> bytes:
        """At most the first `length` bytes."""
        ...

    def write(self, path: str, content: bytes) -> None: ...
    def prepend(self, path: str, block: bytes) -> None:
        """Put `block` before the file's content."""
        ...

    def exists(self, path: str) -> bool: ...
    def glob(self, pattern: str) -> list[str]:
        """Regular files that match (a pattern without wildcards matches itself), symbolic links left out."""
        ...


@dataclass(frozen=True)
class Change:
    """`mended` False: it may still name the partition, and `what` says what to do about it."""

    path: str
    what: str
    mended: bool = True


def repair_guest(files: GuestFiles, swap: SwapIdentity, policy: SwapPolicy) -> tuple[Change, ...]:
    """Take `swap` out of all files that name it; with policy FILE, /swapfile (made by the caller) replaces it.

    A second call finds nothing to do and reports no changes.
    """
    return tuple(_changes(files, swap, policy))


def left_to_repair(files: GuestFiles, swap: SwapIdentity, policy: SwapPolicy) -> tuple[Change, ...]:
    """What repair_guest() would change; nothing is written."""
    return tuple(change for change in _changes(_LookOnly(files), swap, policy) if change.mended)


class _LookOnly:
    """A guest's files that stay as they are, whatever is written."""

    def __init__(self, files: GuestFiles) -> None:
        self.read, self.read_start, self.exists, self.glob = files.read, files.read_start, files.exists, files.glob

    def write(self, path: str, content: bytes) -> None:
        pass

    def prepend(self, path: str, block: bytes) -> None:
        pass


def _changes(files: GuestFiles, swap: SwapIdentity, policy: SwapPolicy) -> Iterator[Change]:
    swap = _with_containers(files, swap)
    line = "swap line made a comment" if swap.is_swap else "line made a comment"
    where = f"swap is {SWAP_FILE}" if policy is SwapPolicy.FILE else line
    yield from _edit(files, (_FSTAB,), lambda text: _fstab(text, swap, policy), where)
    yield from _edit(files, _UNITS, lambda text: silenced(text, swap), "masked")
    yield from _edit(files, _RESUME_FILES, lambda text: resume_none(text, swap), "RESUME=none")
    yield from _edit(files, _COMMAND_LINE_FILES, lambda text: without_kernel_options(text, swap), "resume= removed")
    yield from _edit(files, _DRACUT_FILES, lambda text: without_devices(text, swap), "no longer looked for")
    if files.exists(_INITRAMFS_TOOLS):  # dracut and mkinitcpio have no conf.d
        if swap.is_swap or swap.mapped:
            yield from _make_initrds_forget(files, swap)
    elif files.exists("/usr/lib/dracut") or files.exists("/etc/dracut.conf.d"):
        yield from _name_initrds_of_dracut(files, swap)
    # Last: it tells the names of what was opened.
    yield from _edit(files, (_CRYPTTAB,), lambda text: without_container(text, swap), "line made a comment")


def _fstab(text: str, swap: SwapIdentity, policy: SwapPolicy) -> str:
    text = without_swap(text, swap, policy)
    return with_swap_file(text) if policy is SwapPolicy.FILE else text


def _with_containers(files: GuestFiles, swap: SwapIdentity) -> SwapIdentity:
    """The same with the names that crypttab gives to what is in it."""
    found = [node for path in files.glob(_CRYPTTAB) for node in nodes_made_of(decode(files.read(path)), swap)]
    return replace(swap, mapped=tuple(dict.fromkeys((*swap.mapped, *found))))


def _edit(files: GuestFiles, patterns: tuple[str, ...], change: Callable[[str], str], what: str) -> Iterator[Change]:
    for path in (path for pattern in patterns for path in files.glob(pattern)):
        old = files.read(path)
        new = encode(change(decode(old)))
        if new != old:
            # GRUB's environment block has a fixed size, filled up with '#'.
            files.write(path, new.ljust(len(old), b"#") if path.endswith(_GRUB_ENVIRONMENT) else new)
            yield Change(path, what)


def _make_initrds_forget(files: GuestFiles, swap: SwapIdentity) -> Iterator[Change]:
    for path in files.glob(_INITRDS):
        head = files.read_start(path, initrd.HEAD)
        if initrd.is_initrd(head) and not initrd.forgets(head, swap):
            files.prepend(path, initrd.forgetting_block(swap))
            yield Change(path, "stale RESUME inside cleared")


def _name_initrds_of_dracut(files: GuestFiles, swap: SwapIdentity) -> Iterator[Change]:
    """What is inside them is not changed: where they have systemd (modules.d/95resume of dracut 059) only resume= on
    the kernel's command line counts, and that is mended. One without may have a copy and wait for it.
    """
    what = f"made by dracut, not looked into: should it wait for partition {swap.number}, run dracut -f in the guest"
    for path in dict.fromkeys(path for pattern in _DRACUT_INITRDS for path in files.glob(pattern)):
        yield Change(path, what, mended=False)

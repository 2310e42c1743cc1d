"""A guest's files, mounted inside the appliance: read, rewritten, made, removed.

A file is rewritten in place, never replaced: the same inode, so owner, mode, xattrs, ACLs and hard
links stay. It is safe because the step that does it is guarded by a snapshot. Paths are the guest's
own (/etc/fstab); its symbolic links are resolved inside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from growdisk.backends.guest_handle import Shell, guest_call
from growdisk.errors import OperationFailed, ToolFailed
from growdisk.guest_config.customize.changes import FileOwner
from growdisk.guest_config.etc_tables import Entry, parse_fstab
from growdisk.guest_config.files import decode, swap_file_label
from growdisk.guest_systems.look import GuestMount
from growdisk.host.command import last_lines

_WRITABLE, _READ_ONLY = "rw,noatime", "ro"
_ANY_STATUS = range(256)
_CHUNK = 2 << 20  # a message of libguestfs holds 4 MiB
_SYSROOT = "/sysroot"
_SWAP_MODE = 0o600
_BOOT_PLACES = ("/boot", "/boot/efi", "/efi")
# as lsattr shows them, which has other words where there are none
_FLAGS = r"[-\w]{10,}(?= /)"
_PARTITION = r"/dev/(?:sda|vda|xvda|hda|nvme0n1p|mmcblk0p)(?P<number>\d+)"


_ENVIRONMENT = (
    "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
    "HOME=/root LC_ALL=C.UTF-8\n"
)


class MountedGuest:
    """Implements GuestEditor (guest_config/customize/changes.py), and makes a swap file."""

    def __init__(self, shell: Shell) -> None:
        self._shell, self._handle = shell, shell.handle

    def mount(self, root: str, mounts: Sequence[GuestMount] = (), *, writable: bool = True) -> None:
        """Mount `mounts`; without them the root, and /boot and the EFI partition of its fstab."""
        options = _WRITABLE if writable else _READ_ONLY
        for mount in mounts:
            subvolume = f",subvol={mount.subvolume}" if mount.subvolume else ""
            with guest_call(f"mount {mount.name}"):
                self._handle.mount_options(options + subvolume, mount.node, mount.place)
        # A caller that names them has read the guest's fstab already. Without them it is read here.
        if mounts:
            return
        with guest_call(f"mount {root}"):
            self._handle.mount_options(options, root, "/")
        if not self.exists("/etc/fstab"):
            return
        entries = {one.mount_point: one for one in parse_fstab(decode(self.read("/etc/fstab")))}
        for place in _BOOT_PLACES:
            if (entry := entries.get(place)) and (device := self._device_of(entry)):
                with guest_call(f"mount {device}"):
                    self._handle.mount_options(options, device, place)

    def read(self, path: str) -> bytes:
        """All of a file, in pieces: a single call takes ten times as long under emulation."""
        content = bytearray()
        with guest_call(f"read {path}"):
            # A short piece is the end: one call less than reading until nothing comes.
            while chunk := self._handle.pread(path, _CHUNK, len(content)):
                content += chunk
                if len(chunk) < _CHUNK:
                    break
        return bytes(content)

    def read_start(self, path: str, length: int) -> bytes:
        with guest_call(f"read {path}"):
            return self._handle.pread(path, length, 0)

    def write(self, path: str, content: bytes) -> None:
        """New content for a file, which keeps its inode with all that hangs on it."""
        self._even_if_locked(path, lambda: self._write(path, content))

    def exists(self, path: str) -> bool:
        with guest_call(f"look for {path}"):
            return self._handle.exists(path)

    def glob(self, pattern: str) -> list[str]:
        """Regular files that match, sorted; each once, symbolic links left out."""
        with guest_call(f"look for {pattern}"):
            found = self._handle.glob_expand(pattern, directoryslash=False)
            return sorted(one for one in found if self._handle.is_file(one, followsymlinks=False))

    def prepend(self, path: str, block: bytes) -> None:
        """Put `block` before a file's content.

        Where the file system can (ext4, XFS; whole blocks), it only shifts the file's extents: no
        copy of a large initrd, and no room needed. Else the content makes a round trip through the
        host.
        """
        self._even_if_locked(path, lambda: self._prepend(path, block))

    def _prepend(self, path: str, block: bytes) -> None:
        with guest_call(f"find {path}"):
            inside = _SYSROOT + self._handle.realpath(path)
        # Refused by other file systems, and if the block is not a whole number of their blocks.
        insert = ("fallocate", "--insert-range", "--offset", "0", "--length", str(len(block)))
        status, _ = self._shell.run(*insert, inside, accept=_ANY_STATUS)
        # The range is a hole now, in front of the old content: fill it.
        if status == 0:
            with guest_call(f"write {path}"):
                self._handle.pwrite(path, block, 0)
        else:
            self._write(path, block + self.read(path))

    def make_swap_file(self, path: str, size: int, uuid: str, page_size: int) -> None:
        """A swap file with all its blocks allocated (the kernel refuses holes), mode 0600."""
        inside = _SYSROOT + path
        if self.exists(path):
            raise ToolFailed(f"making {path}", 1, "there is such a file in the guest already")
        self._shell.run("install", "-m", f"{_SWAP_MODE:o}", "/dev/null", inside)
        # btrfs swaps to no file that is copied on write, or compressed: set while it is empty.
        # Others do not know it. What a file inherits from its folder (c) excludes C, so it goes
        # first.
        for flag in ("-c", "+C"):
            self._shell.run("chattr", flag, inside, accept=_ANY_STATUS)
        status, _ = self._shell.run("fallocate", "-l", str(size), inside, accept=_ANY_STATUS)
        if status != 0:  # ext2 and ext3 cannot reserve blocks: write zeros
            self._shell.run(
                "dd", "if=/dev/zero", f"of={inside}", "bs=1M", f"count={size}", "iflag=count_bytes"
            )
        identity = ["-U", uuid] if uuid else []
        self._shell.run("mkswap", "-p", str(page_size), *identity, inside)
        # Without its label, SELinux would not let the guest use it.
        if label := swap_file_label(self):
            self._shell.run("chcon", "-h", label, inside)

    def put(self, path: str, content: bytes, owner: FileOwner) -> None:
        self._write(path, content)
        with guest_call(f"write {path}"):
            self._own(path, owner)

    def make_folder(self, path: str, owner: FileOwner) -> None:
        with guest_call(f"make {path}"):
            self._handle.mkdir_p(path)
            self._own(path, owner)

    def remove(self, path: str) -> None:
        with guest_call(f"remove {path}"):
            self._handle.rm(path)

    def link(self, path: str, target: str) -> None:
        with guest_call(f"make {path}"):
            self._handle.ln_s(target, path)

    def run(self, command: str) -> None:
        """In a chroot with /dev, /proc and /sys, without a network."""
        try:
            self._handle.sh(_ENVIRONMENT + command)
        except RuntimeError as error:
            raise OperationFailed.named(
                "command-failed",
                "a command inside the guest failed: {command}",
                "{reason}",
                "mend the command; it runs as root in the guest's own tree, without a network",
                {"command": command, "reason": last_lines(str(error)) or "it gave no reason"},
            ) from error

    def _write(self, path: str, content: bytes) -> None:
        # Both truncate and write, which keeps the inode with all that belongs to it. Of a large
        # content libguestfs's write would make a file on the host's disk.
        with guest_call(f"write {path}"):
            if len(content) <= _CHUNK:
                self._handle.write(path, content)
            else:
                with _memory_file(content) as copy:
                    self._handle.upload(str(copy), path)

    def _even_if_locked(self, path: str, work: Callable[[], None]) -> None:
        """Do `work`; if `path` is immutable, append-only or read-only, unlock it and try again."""
        try:
            work()
        except ToolFailed:
            with guest_call(f"find {path}"):
                inside = _SYSROOT + self._handle.realpath(path)
            # Asked only after a failure: hardly a file is locked, and each question costs a call.
            locks = list(self._locks(inside))
            if not locks:
                raise
            for lift, _ in locks:
                self._shell.run(*lift)
            try:
                work()
            finally:
                # Backwards: in a subvolume that is read-only again no attribute could be set.
                for _, lock in reversed(locks):
                    self._shell.run(*lock)

    def _locks(self, inside: str) -> Iterator[tuple[list[str], list[str]]]:
        """What keeps a file as it is: the command that lifts it, and the one that sets it again."""
        # The subvolume comes first: as long as it is read-only, chattr fails in it. Its top is the
        # nearest folder above that has the property.
        for folder in map(str, Path(inside).parents):
            read_only = ["btrfs", "property", "get", "-ts", folder, "ro"]
            status, output = self._shell.run(*read_only, accept=_ANY_STATUS)
            if status == 0 and "ro=true" in output:
                change = ["btrfs", "property", "set", "-ts", folder, "ro"]
                yield [*change, "false"], [*change, "true"]
            if status == 0:  # the subvolume that it is in
                break
        _, output = self._shell.run("lsattr", "-d", inside, accept=_ANY_STATUS)
        flags = re.match(_FLAGS, output)
        if flags and (locks := "".join(lock for lock in "ia" if lock in flags[0])):
            yield ["chattr", f"-{locks}", inside], ["chattr", f"+{locks}", inside]

    def _device_of(self, entry: Entry) -> str | None:
        """The appliance's device for an fstab entry; None if it is not on this disk."""
        kind = entry.plain_source.partition("=")[0]
        if kind in ("UUID", "LABEL"):
            # What it complains of comes in the same stream.
            look = ("blkid", "-c", "/dev/null", "-l", "-o", "device", "-t", entry.plain_source)
            status, found = self._shell.run(*look, accept=_ANY_STATUS)
            return found.strip() if status == 0 else None
        # Whatever the guest calls its disk, the appliance has it as sda. It has one.
        if match := re.fullmatch(_PARTITION, entry.plain_source):
            return f"/dev/sda{match['number']}"
        if kind.startswith("/dev/mapper/") and self._shell.is_device(kind):
            return entry.plain_source
        return None

    def _own(self, path: str, owner: FileOwner) -> None:
        self._handle.chown(owner.uid, owner.gid, path)
        self._handle.chmod(owner.mode, path)  # last: chown takes the setuid bit away


# In memory: a guest's bytes are not for the host's disk, which may not be encrypted.


@contextmanager
def _memory_file(content: bytes) -> Iterator[Path]:
    """The path by which this process opens it; it is gone after the block."""
    with os.fdopen(os.memfd_create("growdisk"), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")

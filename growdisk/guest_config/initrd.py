"""Makes existing initrds forget a swap partition, without unpacking or rebuilding them.

One block of 4096 bytes is put *before* the initrd: a cpio archive with one file,
conf/conf.d/zzz-growdisk-resume-…, which initramfs-tools' /init sources last and which clears RESUME
if it names that swap. Why before, uncompressed: that is how microcode stands in front of initrds
everywhere, so that every kernel, boot loader and lsinitramfs takes it, whatever the rest is
compressed with; after a lz4 or gzip stream, kernels or `gzip -t` stumble over it. The archive
fills its block exactly (padding inside the file), since lsinitramfs walks padding between archives
at 4 bytes a fork. For dracut the one file is etc/cmdline.d/zzz-growdisk-resume-….conf with
`noresume`, which its scripts read as if it stood on the kernel's command line. Neither file is one
that the initrd has itself: its own would come later and win. Specs: Linux
Documentation/driver-api/early-userspace/buffer-format.rst, initramfs-tools' /init,
dracut.cmdline(7).
"""

from __future__ import annotations

import hashlib

from growdisk.guest_config.files import encode
from growdisk.guest_config.initrd_content import MAGICS, TRAILER, leading_names
from growdisk.guest_config.removed_partition import RemovedPartition

# The block size of nearly every file system, so that it can shift the file by whole blocks.
BLOCK = 4096
HEAD = 16 * BLOCK  # how much of an initrd is looked at

# Bytes before an initrd that mkimage has wrapped, with a checksum of all that follows. Byte 30 of
# them tells what it is: 3 for a ramdisk.
UBOOT_HEADER = 64
_UBOOT_MAGIC, _UBOOT_KIND, _UBOOT_RAMDISK = b"\x27\x05\x19\x56", 30, 3
_DIRECTORY, _FILE = 0o040755, 0o100644
# How lsinitramfs knows an archive's end, should another uncompressed one (microcode) follow.
_END = bytes(4)
# gzip, zstd, xz, lz4 (legacy frames), lzma, bzip2, lzo.
_PACKED_MAGICS = (
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ",
    b"\x02\x21\x4c\x18",
    b"\x5d\0\0",
    b"BZh",
    b"\x89LZO",
)


def forgetting_block(gone: RemovedPartition) -> bytes:
    """The block to put before an initrd of initramfs-tools."""
    return _block(_file_name(gone), encode(_script(gone)), b"\n", gone)


def noresume_block(gone: RemovedPartition) -> bytes:
    """The block to put before an initrd of dracut that has the resume= of `gone`."""
    # Blanks and not empty lines: dracut goes through all lines with each option that it looks for.
    return _block(_dracut_name(gone), b"noresume", b" ", gone)


def _block(name: str, script: bytes, padding_byte: bytes, gone: RemovedPartition) -> bytes:
    fixed = len(_archive(name, b"")) + len(_END)
    padding = BLOCK - fixed - len(script)
    if padding < 0:
        raise ValueError(f"the swap's names are too long for one block: {gone}")
    block = _archive(name, script + padding_byte * padding) + _END
    assert len(block) == BLOCK
    return block


def is_initrd(head: bytes) -> bool:
    """Whether a file that begins with `head` is an initramfs of a known kind."""
    return head.startswith((*MAGICS, *_PACKED_MAGICS))


def is_wrapped(head: bytes) -> bool:
    """Whether it is one as U-Boot takes it (uInitrd), which nothing may stand before."""
    return head.startswith(_UBOOT_MAGIC) and head[_UBOOT_KIND : _UBOOT_KIND + 1] == bytes(
        [_UBOOT_RAMDISK]
    )


def is_archive(head: bytes) -> bool:
    """Whether it begins as a cpio archive that the kernel unpacks."""
    return head.startswith(MAGICS)


def forgets(head: bytes, gone: RemovedPartition) -> bool:
    """Whether the initrd that begins with `head` has been given the block for `gone`."""
    return not {_file_name(gone), _dracut_name(gone)}.isdisjoint(leading_names(head))


def _dracut_name(gone: RemovedPartition) -> str:
    return f"etc/cmdline.d/{_file_name(gone).rpartition('/')[2]}.conf"


def _file_name(gone: RemovedPartition) -> str:
    # The swap is in the name: blocks for two swaps stand one before the other and both are obeyed.
    # 'zzz' sorts after the 'zz-resume-auto' of update-initramfs.
    # What crypttab calls it is not: that is known the first time only.
    names = (gone.number, gone.uuid, gone.label, gone.partuuid, gone.partlabel)
    return f"conf/conf.d/zzz-growdisk-resume-{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}"


def _script(gone: RemovedPartition) -> str:
    # Empty, not 'none': that means the same to every version of /init, while old ones would wait
    # for a device 'none'.
    patterns = "|".join(gone.shell_patterns())
    comment = "# growdisk: this swap partition is gone, do not wait for it."
    return f'{comment}\ncase "$RESUME" in\n{patterns}) RESUME= ;;\nesac\n'


def _archive(name: str, script: bytes) -> bytes:
    folder = name.rpartition("/")[0]
    return b"".join(
        (
            _member(folder.partition("/")[0], _DIRECTORY),
            _member(folder, _DIRECTORY),
            _member(name, _FILE, script),
            _member(TRAILER, 0),
        )
    )


def _member(name: str, mode: int, content: bytes = b"") -> bytes:
    links = 2 if mode == _DIRECTORY else 1
    # newc: inode, mode, owner, group, links, time, size, four device numbers, size of the name,
    # check.
    fields = (0, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = MAGICS[0] + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

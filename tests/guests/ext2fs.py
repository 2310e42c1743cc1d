"""Reads an ext file system through libext2fs, e2fsprogs' own library:
no root, no mount, no code of growdisk's.

The library's structures stay opaque to us but for two on-disk ones: the inode and the directory
entry.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_FLAG_64BITS = 0x20000
_CHUNK = 1 << 20
_INODE_SIZE = 256
_ROOT_INODE = 2
_FAST_LINK = 60
_INT, _POINTER = ctypes.c_int, ctypes.c_void_p
_DIRENT = ctypes.CFUNCTYPE(_INT, ctypes.c_uint, _INT, _POINTER, _INT, _INT, _POINTER, _POINTER)
_XATTR = ctypes.CFUNCTYPE(_INT, ctypes.c_char_p, _POINTER, ctypes.c_size_t, _POINTER)


class Ext2fsError(AssertionError):
    """The library refused; the code is one of com_err's."""


@dataclass(frozen=True)
class Inode:
    """What stat(2) tells, and the 60 bytes that hold block map,
    extents or a short link's target.
    """

    number: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    links: int
    flags: int
    block: bytes


class Ext2Filesystem:
    """An open file system."""

    def __init__(self, handle: ctypes.c_void_p) -> None:
        self._lib, self._handle = _library(), handle
        # one for all files: a megabyte costs time to clear
        self._buffer = ctypes.create_string_buffer(_CHUNK)

    def walk(self) -> Iterator[tuple[bytes, Inode]]:
        """Every name with its inode, from the root on; the root is b'/'."""
        stack = [(b"/", self.inode(_ROOT_INODE))]
        while stack:
            path, inode = stack.pop()
            yield path, inode
            if inode.mode & 0o170000 == 0o040000:
                names = self._names(inode.number)
                stack += [
                    (path.rstrip(b"/") + b"/" + name, self.inode(number)) for name, number in names
                ]

    def inode(self, number: int) -> Inode:
        raw = ctypes.create_string_buffer(_INODE_SIZE)
        _check(
            self._lib.ext2fs_read_inode_full(self._handle, number, raw, _INODE_SIZE),
            f"inode {number}",
        )
        return _parse_inode(number, raw.raw)

    def chunks(self, inode: Inode) -> Iterator[bytes]:
        """The content of a regular file, or of a link that is too long for its inode."""
        file = ctypes.c_void_p()
        _check(
            self._lib.ext2fs_file_open(self._handle, inode.number, 0, ctypes.byref(file)), "open"
        )
        got = ctypes.c_uint()
        try:
            while True:
                _check(
                    self._lib.ext2fs_file_read(file, self._buffer, _CHUNK, ctypes.byref(got)),
                    f"inode {inode.number}",
                )
                if got.value == 0:
                    return
                yield ctypes.string_at(self._buffer, got.value)
        finally:
            self._lib.ext2fs_file_close(file)

    def link_target(self, inode: Inode) -> bytes:
        return (
            inode.block[: inode.size] if inode.size < _FAST_LINK else b"".join(self.chunks(inode))
        )

    def xattrs(self, inode: Inode) -> dict[str, bytes]:
        found: dict[str, bytes] = {}

        def keep(name: bytes, value: int, length: int, _: object) -> int:
            found[name.decode()] = ctypes.string_at(value, length)
            return 0

        xattrs = ctypes.c_void_p()
        _check(
            self._lib.ext2fs_xattrs_open(self._handle, inode.number, ctypes.byref(xattrs)), "xattrs"
        )
        try:
            _check(self._lib.ext2fs_xattrs_read(xattrs), f"xattrs of inode {inode.number}")
            _check(self._lib.ext2fs_xattrs_iterate(xattrs, _XATTR(keep), None), "xattrs")
        finally:
            self._lib.ext2fs_xattrs_close(ctypes.byref(xattrs))
        return found

    def _names(self, directory: int) -> list[tuple[bytes, int]]:
        found: list[tuple[bytes, int]] = []

        def keep(_dir: int, _entry: int, dirent: int, *_: object) -> int:
            number, _length, name_length = struct.unpack("<IHBx", ctypes.string_at(dirent, 8))
            name = ctypes.string_at(dirent + 8, name_length)
            if number and name not in (b".", b".."):
                found.append((name, number))
            return 0

        _check(
            self._lib.ext2fs_dir_iterate2(self._handle, directory, 0, None, _DIRENT(keep), None),
            "directory",
        )
        return found


@contextmanager
def open_ext(disk: Path, offset: int = 0) -> Iterator[Ext2Filesystem]:
    """The file system at byte `offset` of the raw image `disk`, read only."""
    lib, handle = _library(), ctypes.c_void_p()
    manager = ctypes.c_void_p.in_dll(lib, "unix_io_manager")
    options = f"offset={offset}".encode()
    opened = lib.ext2fs_open2(
        str(disk).encode(), options, _FLAG_64BITS, 0, 0, manager, ctypes.byref(handle)
    )
    _check(opened, f"{disk} at {offset}")
    try:
        yield Ext2Filesystem(handle)
    finally:
        lib.ext2fs_close_free(ctypes.byref(handle))


def _parse_inode(number: int, raw: bytes) -> Inode:
    mode, uid, size, _atime, _ctime, mtime, _dtime, gid, links = struct.unpack_from(
        "<HHIIiiIHH", raw
    )
    (flags,) = struct.unpack_from("<I", raw, 32)
    size_high, uid_high, gid_high = (
        *struct.unpack_from("<I", raw, 108),
        *struct.unpack_from("<HH", raw, 120),
    )
    return Inode(
        number,
        mode,
        uid | uid_high << 16,
        gid | gid_high << 16,
        size | size_high << 32,
        mtime,
        links,
        flags,
        raw[40:100],
    )


def _library() -> ctypes.CDLL:
    return ctypes.CDLL("libext2fs.so.2")


def _check(code: int, what: str) -> None:
    if code:
        raise Ext2fsError(f"libext2fs: error {code & 0xFFFFFFFF:#x} ({what})")

"""A host file as a block device: raw images, and the file below every qcow2 image.

It may be a block device of the host: that has the size it has, and is written to only while nothing
of the host's own (a mount, a device mapper, an array) holds it. Holes are data's absence and stay
holes: SEEK_DATA finds them, hole punching makes them. Writing needs the locks of block/locks.py,
which are taken before the first byte is read.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

from growdisk.block import direct_io
from growdisk.block.device import Extent, InParts, Part, check_range
from growdisk.block.host_blocks import extents, possible_size, unallocated
from growdisk.block.host_devices import is_on_fuse
from growdisk.block.locks import lock_image, others_open
from growdisk.block.opening import (
    open_descriptor,
    require_disk,
    require_same,
    require_size,
    second_look,
)
from growdisk.durable import KEEP_SIZE, NOT_SUPPORTED, PUNCH_HOLE, ZERO_RANGE, fallocate
from growdisk.units import split_range

_CHUNK = 1 << 20
_SECTOR = 512
# so much that a moment in which another process has the processor does not count
_SENT_AT_ONCE = 16 << 20
# seconds a byte: memory at hand takes a fifth of that, a disk of today about two thirds
_SLOW_COPY = 1.5 / (1 << 30)
# a file that grows bit by bit is lengthened by so much at once: each time costs a journal's entry
_AHEAD = 32 << 20
_SYNC_FILE_RANGE_WRITE = 2


class RawFile(InParts):
    """A regular file (or block device) of the host. Implements ResizableDevice."""

    def __init__(self, fd: int, path: Path, *, writable: bool) -> None:
        self._fd, self.path, self.writable = fd, path, writable
        self.is_block_device = stat.S_ISBLK(os.fstat(fd).st_mode)
        self._size = os.lseek(fd, 0, os.SEEK_END)
        self._missing = 0  # bytes of its last sector that the file has not; they read as zeros
        # bytes written and not yet sent to the disk, where that is done early
        self._waiting: int | None = None
        self._copying = 0.0  # seconds that it took to copy these into the host's cache
        # another descriptor, for what is written past the host's cache
        self._direct: int | None = None
        self._end = 0  # where the file ends on the host, if that is beyond its size
        self._is_synced = False  # what another process wrote before it died need not be durable yet
        self._is_synced_later = False  # as a whole, by its maker

    @classmethod
    def open(
        cls, path: Path, *, writable: bool = False, lock: bool = True, not_in_use: bool = False
    ) -> RawFile:
        """Open an existing file.

        Raises ImageNotReadable, or ImageInUse if QEMU's locks stand against it, or, to write, if
        anybody else uses it; use-unknown if that cannot be known of a device, unless `not_in_use`
        says that it is not.
        """
        # Before it is open to write here: a lease tells only of others, as long as we do not write.
        look_again = second_look(path, not_in_use=not_in_use) if writable and lock else None
        fd = open_descriptor(path, writable=writable)
        try:
            require_disk(path, os.fstat(fd).st_mode)  # again: the name may mean another file by now
            if lock:
                # Before the first byte is read: what was read without the lock may be another's
                # half-done work.
                lock_image(fd, path, writing=writable)
                if writable:
                    require_same(fd, path)
            if look_again is not None:
                look_again()
            require_size(fd, path)
            return cls(fd, path, writable=writable)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def open_disk(cls, path: Path, *, writable: bool = False, not_in_use: bool = False) -> RawFile:
        """Open a raw image.

        A file that ends within a sector is a disk that has the whole of it, as for QEMU.
        """
        file = cls.open(path, writable=writable, not_in_use=not_in_use)
        file._missing = -file._size % _SECTOR
        file._size += file._missing
        return file

    @classmethod
    def create(cls, path: Path, size: int = 0, *, lock: bool = True, mode: int = 0o644) -> RawFile:
        """Create a sparse file that must not exist yet (FileExistsError otherwise).

        `mode`: whom the umask lets read it.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if lock:
                lock_image(fd, path, writing=True)
            os.ftruncate(fd, possible_size(size))
            return cls(fd, path, writable=True)
        except BaseException:
            os.close(fd)
            path.unlink()
            raise

    def refuse_in_use(self) -> None:
        """ImageInUse if anybody has begun to use it since it was opened to write."""
        if self.is_block_device or others_open(self._fd) != "nobody":
            from growdisk.block.holders import refuse_users

            refuse_users(self.path, claimed=True, not_in_use=True)

    def refresh_size(self) -> int:
        """Look again how large it is, after the host has changed that."""
        self._size = os.lseek(self._fd, 0, os.SEEK_END)
        return self._size

    @property
    def size(self) -> int:
        return self._size

    @property
    def padding(self) -> int:
        """Bytes of zeros that the disk has beyond the end of its file: see open_disk()."""
        return self._missing

    @property
    def status(self) -> os.stat_result:
        """Of the open file, whatever its name leads to by now."""
        return os.fstat(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        check_range(self._size, offset, length)
        # One call is nearly always enough. It gives at most 2 GiB, and less at the file's end.
        data = os.pread(self._fd, length, offset)
        if len(data) == length:
            return data
        buffer = bytearray(length)
        buffer[: len(data)] = data
        self.read_into(offset + len(data), memoryview(buffer)[len(data) :])
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes at `offset`; a reused buffer is cheaper than new memory."""
        check_range(self._size, offset, len(buffer))
        while buffer:
            count = os.preadv(self._fd, [buffer], offset)
            # The rest of a last sector that is cut short.
            if not count and len(buffer) <= self._missing:
                buffer[:] = bytes(len(buffer))
                return
            if not count:
                raise OSError(errno.EIO, f"{self.path} became shorter while it was read")
            buffer, offset = buffer[count:], offset + count

    def parts(self, offset: int, length: int) -> Iterator[Part]:
        check_range(self._size, offset, length)
        yield Part(offset, offset + length, partial(self.read_into, offset), place=(self, offset))

    def will_need(self, offset: int, length: int) -> None:
        """Let the host begin to read a range, without waiting for it."""
        with suppress(OSError):
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        check_range(self._size, offset, len(data))
        view = memoryview(data)
        self._is_synced = False
        if self._direct is not None:
            written = direct_io.write_direct(self._direct, offset, view)
            view, offset = view[written:], offset + written
        begun, length = time.monotonic(), len(view)
        while view:
            written = os.pwrite(self._fd, view, offset)
            view, offset = view[written:], offset + written
        if self._waiting is not None and length:
            self._send(length, time.monotonic() - begun)
        # the file has become longer
        self._missing = min(self._missing, max(self._size - offset, 0))

    def write_behind(self, *, synced_later: bool = False) -> None:
        """Send data to the disk as they are written, so that the next flush has little to wait for.

        Once the host's cache turns out to be slow, large pieces in buffers of direct_io.aligned()
        go past it, if possible. If the file grows, it is longer on the host than its size says
        until the next flush. `synced_later`: that flush waits for nothing, as nobody knows of the
        file before its maker has made all of it durable.
        """
        self._waiting, self._is_synced_later = 0, synced_later

    @property
    def writes_directly(self) -> bool:
        """Whether what is written goes past the host's cache by now."""
        return self._direct is not None

    def clone_from(self, source: RawFile) -> bool:
        """Become a copy of another file that shares its blocks.

        False if the file system has no reflinks.
        """
        if self.is_block_device or not direct_io.clone(source._fd, self._fd):
            return False
        self._size, self._is_synced = source.length, False
        return True

    def _send(self, written: int, seconds: float) -> None:
        """Begin to write to the disk what was copied in `seconds`, without waiting for it."""
        self._waiting, self._copying = (self._waiting or 0) + written, self._copying + seconds
        if self._waiting >= _SENT_AT_ONCE:
            import ctypes

            # The host has to look for memory, or waits for its disk: then that is the quicker way.
            if self._direct is None and self._copying > self._waiting * _SLOW_COPY:
                self._direct = direct_io.reopen_direct(self._fd)
            self._waiting, self._copying = 0, 0.0
            ctypes.CDLL(None).sync_file_range(
                self._fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE
            )

    def write_zeros(self, offset: int, length: int) -> None:
        check_range(self._size, offset, length)
        # Who serves a file by FUSE may take a hole for a mere hint, and keep what was there (QEMU's
        # storage daemon).
        if self._fallocate(ZERO_RANGE if self._is_on_fuse else PUNCH_HOLE, offset, length):
            return
        for start, end in split_range(offset, offset + length, _CHUNK):
            self.write(start, bytes(end - start))

    def discard(self, offset: int, length: int) -> None:
        check_range(self._size, offset, length)
        self._fallocate(PUNCH_HOLE, offset, length)

    def copy_from(self, source: RawFile, offset: int, length: int, *, move: int = 0) -> None:
        """Copy a range of another file to the same place or `move` bytes further.

        The kernel does it if it can.
        """
        check_range(self._size, offset + move, length)
        end = offset + length
        self._is_synced = False
        while offset < end:
            begun = time.monotonic()
            try:
                # Not between all file systems (EXDEV), nor of all kinds of files (EINVAL): then by
                # hand.
                done = os.copy_file_range(source._fd, self._fd, end - offset, offset, offset + move)
            except OSError:
                done = 0
            if done == 0:
                self.write(offset + move, source.read(offset, end - offset))
                return
            offset += done
            if self._waiting is not None:
                self._send(done, time.monotonic() - begun)

    def flush(self) -> None:
        """Make all that was written durable; nothing has to be done twice for what is."""
        if self._is_synced:
            return
        # Before the sync, so that the length is durable too.
        self._cut_end()
        if not self._is_synced_later:
            os.fdatasync(self._fd)
            self._is_synced = True

    def resize(self, size: int) -> None:
        if self.is_block_device:
            self._require_room(size)
            return
        self._is_synced = False
        size = possible_size(size)
        # Exact, unless much is being written: then the file runs ahead of its size.
        if self._waiting is None or size < self._size:
            os.ftruncate(self._fd, size)
            self._end = 0
        elif size > max(self.length, self._end):
            self._lengthen(size)
        self._size, self._missing = size, 0

    def _lengthen(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size + _AHEAD)
            self._end = size + _AHEAD
        except OSError:  # it may be more than the host allows
            os.ftruncate(self._fd, size)
            self._end = size

    def _cut_end(self) -> None:
        if self._end > self._size:
            os.ftruncate(self._fd, self._size)
        self._end = 0

    @property
    def length(self) -> int:
        """How long the file is: less than the disk, if its last sector is not whole."""
        return self._size - self._missing

    def trim(self, length: int) -> None:
        """Free what is reserved after `length`.

        That is the file's length, or ends within the disk's last sector.
        """
        if self.is_block_device:
            return
        # some have a size that cannot be set
        if self._is_on_fuse and os.fstat(self._fd).st_size == length:
            return
        self._is_synced = False
        os.ftruncate(self._fd, length)
        self._end = 0
        self._missing = self._size - length

    def allocate(self, offset: int, length: int) -> None:
        """Reserve host blocks for a range (posix_fallocate).

        OSError ENOSPC when there is no room for it.
        """
        if self.is_block_device:
            self._require_room(offset + length)
            return
        self._is_synced = False
        os.posix_fallocate(self._fd, offset, possible_size(offset + length) - offset)
        self._size = max(self._size, offset + length)

    def reserve(self, offset: int, length: int) -> None:
        """Reserve host blocks for a range without changing size or content, also beyond the end.

        OSError if full.
        """
        self._is_synced = False
        try:
            fallocate(self._fd, KEEP_SIZE, offset, length)
        except OSError as error:
            if error.errno not in NOT_SUPPORTED:
                raise OSError(error.errno, error.strerror, str(self.path)) from error

    def unallocated(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where [start, end) has no blocks of the host."""
        return unallocated(self._fd, start, end, unit=self._unit)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self._size, offset, length)
        return extents(self._fd, offset, offset + length, unit=self._unit)

    @property
    def _unit(self) -> int:
        """What is added to a last sector that is cut belongs to its data."""
        return _SECTOR if self._missing else 1

    def close(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):  # a file that ends in a hole does no harm
                self._cut_end()
            with suppress(OSError):  # closed it is; what is to be durable has been flushed
                if self._direct is not None:
                    os.close(self._direct)
                os.close(self._fd)
            self._direct = None
            self._fd = -1

    def _require_room(self, size: int) -> None:
        if size > self._size:
            raise OSError(
                errno.ENOSPC,
                f"{self.path} is a block device of {self._size} bytes; {size} are needed",
            )

    @cached_property
    def _is_on_fuse(self) -> bool:
        return is_on_fuse(self._fd)

    def _fallocate(self, mode: int, offset: int, length: int) -> bool:
        """Without another size; False if the file system cannot."""
        if length == 0:
            return True
        self._is_synced = False
        try:
            fallocate(self._fd, mode | KEEP_SIZE, offset, length)
        except OSError:
            return False
        return True

"""Serves block devices as the files of a folder through FUSE: how host tools reach them.

A thread of this process serves. The kernel's end is a descriptor of /dev/fuse that was
mounted before. So growdisk's engine stays the one writer of the image: when this process dies the
descriptor closes, and every access of a tool that outlives it fails.

FSYNC is answered at once: what tools write becomes durable when the owner flushes the device. A run
that dies before that goes back to the snapshot before the step, so an earlier flush would save
nothing. Spec: Linux include/uapi/linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from enum import IntEnum

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple
from growdisk.fast_imports import LateLogger

_log = LateLogger("growdisk.fuse")

MAX_WRITE = 1 << 20
# Without FUSE_MAX_PAGES a request carries 32 pages (128 KiB) at most.
_PAGES = MAX_WRITE >> 12
# The kernel refuses a read() with less room than its largest request has (EINVAL).
_BUFFER = MAX_WRITE + 4096
_MAJOR, _MINOR = 7, 31
_ROOT = 1
# seconds that the kernel may remember attributes: nothing here changes size or owner
_FOREVER = 1 << 30

# The layouts follow the kernel's structs in order: fuse_in_header (_FuseRequest has its fields) and
# fuse_out_header (length, error, unique).
_HEADER = struct.Struct("<IIQQIIIHH")
_REPLY = struct.Struct("<IiQ")
_INVALID = struct.Struct("<IiQQqq")  # a reply's head without a question, and what it is about
# Major, minor, max_readahead, flags; the answer goes on with max_background, congestion_threshold,
# max_write, time_gran, max_pages, and fields that stay 0.
_INIT_ASKED = struct.Struct("<IIII")
_INIT = struct.Struct("<IIIIHHIIHHI28x")
# How long the attributes are valid (seconds, nanoseconds), padding.
_VALID = struct.Struct("<QII")
# Inode, size, blocks, 3 times, their nanoseconds, mode, links, uid, gid, rdev, block size, flags.
_ATTRIBUTES = struct.Struct("<6Q10I")
# Node, generation, how long the entry and its attributes are valid, nanoseconds of both.
_ENTRY = struct.Struct("<QQQQII")
# Handle, how the kernel caches (_DIRECT_IO, _KEEP_CACHE), padding.
_OPENED = struct.Struct("<QII")
# Handle, offset, size, flags, lock owner, flags, padding; the data of a write follow.
_TRANSFER = struct.Struct("<QQIIQII")
_WRITTEN = struct.Struct("<II")
# Handle, offset, length, mode, padding.
_FALLOCATE = struct.Struct("<QQQII")
# Which fields are set, padding, handle, size.
_SETATTR = struct.Struct("<IIQQ")
# Blocks (all, free, available), files (all, free), block size, name length, fragment size.
_STATFS = struct.Struct("<QQQQQIIII24x")

_ASYNC_READ, _BIG_WRITES, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
_SET_SIZE = 1 << 3
_DIRECT_IO, _KEEP_CACHE = 1 << 0, 1 << 1
_PUNCH_HOLE, _ZERO_RANGE = 2, 16
_INVALIDATE = 2


class _Opcode(IntEnum):
    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    FALLOCATE = 43


_WITHOUT_REPLY = frozenset({_Opcode.FORGET, _Opcode.BATCH_FORGET, _Opcode.INTERRUPT})
_WITHOUT_EFFECT = frozenset(
    {_Opcode.RELEASE, _Opcode.RELEASEDIR, _Opcode.FSYNC, _Opcode.FLUSH, _Opcode.DESTROY}
)


class _FuseRequest(NamedTuple):
    length: int
    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    pid: int
    extensions: int
    padding: int


class FuseFolder:
    """A folder with a file for each of `devices`; answers the kernel on `descriptor` until close().

    The descriptor is the folder's own.
    """

    def __init__(
        self,
        devices: Mapping[str, BlockDevice],
        descriptor: int,
        *,
        cached: bool = True,
        writes: Callable[[], int] | None = None,
    ) -> None:
        """Not `cached`: the device answers every access of a tool, never the kernel's cache.

        `writes` counts everything ever written below the devices, through this folder or not. With
        it, a tool may be answered from what another one has read or written in the same file,
        unless something else has written since. Without it, every tool reads from the device.
        """
        self._cached, self._writes = cached, writes
        self._written: Counter[int] = Counter()  # here, by file
        self._seen: dict[int, int] = {}  # what others had written when a file was opened last
        self.failure: Exception | None = (
            None  # the first error of a device that was reported to a tool
        )
        self._names: dict[str, int] = {}
        self._devices: dict[int, BlockDevice] = {}
        self.show(devices)
        self._descriptor, self._end = descriptor, os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name="fuse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the connection to the kernel; a tool with an open file gets errors from then on.

        Once only.
        """
        # The thread sits in poll(): closing the descriptor under it would not wake it.
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._descriptor)
        os.close(self._end)

    def show(self, devices: Mapping[str, BlockDevice]) -> None:
        """These are the files from now on. Once only: the kernel remembers which file is whose."""
        assert not self._devices
        self._names = {name: node for node, name in enumerate(devices, _ROOT + 1)}
        self._devices = {self._names[name]: device for name, device in devices.items()}

    def changed(self, name: str, offset: int, length: int) -> None:
        """Report one write to a file's device that did not come through the folder.

        It has to be called once for each such write. Only that range is read again.
        """
        node = self._names[name]
        self._written[node] += 1
        notice = _INVALID.pack(_INVALID.size, _INVALIDATE, 0, node, offset, length)
        with contextlib.suppress(FileNotFoundError):  # nobody has asked for that file yet
            os.write(self._descriptor, notice)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        # One buffer for all requests: a new one of this size each time would be mapped and unmapped
        # by the allocator, which takes longer than most answers.
        buffer = bytearray(_BUFFER)
        # POLLERR: the folder was unmounted, or the connection aborted.
        while all(
            ready != self._end and not event & select.POLLERR for ready, event in poll.poll()
        ):
            try:
                length = os.readv(self._descriptor, [buffer])
            except OSError as error:
                if error.errno == errno.ENODEV:  # somebody unmounted it
                    return
                continue  # ENOENT: the request was interrupted
            request = _FuseRequest._make(_HEADER.unpack_from(buffer))
            body = memoryview(buffer)[_HEADER.size : length]
            if request.opcode == _Opcode.WRITE:
                # A device may keep what it is given to write.
                body = memoryview(bytes(body))
            self._reply(request, body)

    def _reply(self, request: _FuseRequest, body: memoryview) -> None:
        if request.opcode in _WITHOUT_REPLY:
            return
        status, answer = 0, b""
        try:
            answer = self._answer(request, body)
        except _Refusal as refusal:
            status = -refusal.number
        except Exception as error:
            # a bug of the engine too must reach the main thread, not die with this one
            _log.debug("fuse request %s: %s", request.opcode, error)
            self.failure = self.failure or error
            status = -errno.EIO
        header = _REPLY.pack(_REPLY.size + len(answer), status, request.unique)
        with contextlib.suppress(OSError):  # the asker is gone
            os.writev(self._descriptor, [header, answer])

    def _answer(self, request: _FuseRequest, body: memoryview) -> bytes:
        match request.opcode:
            case _Opcode.INIT:
                return _init(*_INIT_ASKED.unpack_from(body))
            case _Opcode.LOOKUP:
                node = self._names.get(bytes(body).rstrip(b"\0").decode(errors="replace"))
                if node is None:
                    raise _Refusal(errno.ENOENT)
                return _ENTRY.pack(node, 0, _FOREVER, _FOREVER, 0, 0) + self._attributes(node)
            case _Opcode.GETATTR:
                return _VALID.pack(_FOREVER, 0, 0) + self._attributes(request.node)
            case _Opcode.OPEN | _Opcode.OPENDIR:
                return _OPENED.pack(0, self._how_cached(request.node), 0)
            case _Opcode.STATFS:
                return _STATFS.pack(0, 0, 0, 1, 0, 4096, 255, 4096, 0)
        if request.opcode in _WITHOUT_EFFECT:
            return b""
        return self._answer_file(request, body)

    def _answer_file(self, request: _FuseRequest, body: memoryview) -> bytes:
        device = self._devices.get(request.node)
        if device is None:
            raise _Refusal(errno.ENOSYS)
        match request.opcode:
            case _Opcode.SETATTR:
                valid, _, _, size = _SETATTR.unpack_from(body)
                if valid & _SET_SIZE and size != device.size:
                    raise _Refusal(errno.EPERM)
                return _VALID.pack(_FOREVER, 0, 0) + self._attributes(request.node)
            case _Opcode.READ:
                return _read(device, body)
            case _Opcode.WRITE:
                answer = _write(device, body)
            case _Opcode.FALLOCATE:
                answer = _fallocate(device, body)
            case _:
                raise _Refusal(errno.ENOSYS)
        self._written[request.node] += 1  # only now: one that fails counts as somebody else's
        return answer

    def _how_cached(self, node: int) -> int:
        if not self._cached or self._writes is None:
            return 0 if self._cached else _DIRECT_IO
        others = self._writes() - self._written[node]
        # Nobody else has written since the last opening: what the kernel remembers is still true.
        is_known = self._seen.get(node) == others
        self._seen[node] = others
        return _KEEP_CACHE if is_known else 0

    def _attributes(self, node: int) -> bytes:
        device = self._devices.get(node)
        # The folder itself has no device.
        size, mode = (device.size, stat.S_IFREG | 0o600) if device else (0, stat.S_IFDIR | 0o700)
        owner = (os.getuid(), os.getgid())
        return _ATTRIBUTES.pack(
            node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, *owner, 0, 4096, 0
        )


def _read(device: BlockDevice, body: memoryview) -> bytes:
    _, offset, length, *_ = _TRANSFER.unpack_from(body)
    # A read at the end gets what there is, as from any file.
    end = min(offset + length, device.size)
    return device.read(offset, end - offset) if end > offset else b""


def _write(device: BlockDevice, body: memoryview) -> bytes:
    _, offset, length, *_ = _TRANSFER.unpack_from(body)
    _refuse_write(device, offset, length)
    device.write(offset, body[_TRANSFER.size : _TRANSFER.size + length])
    return _WRITTEN.pack(length, 0)


def _fallocate(device: BlockDevice, body: memoryview) -> bytes:
    """Both what punches holes and what zeroes must read as zeros afterwards."""
    _, offset, length, mode, _ = _FALLOCATE.unpack_from(body)
    if not mode & (_PUNCH_HOLE | _ZERO_RANGE):
        raise _Refusal(errno.EOPNOTSUPP)
    _refuse_write(device, offset, length)
    device.write_zeros(offset, length)
    return b""


def _refuse_write(device: BlockDevice, offset: int, length: int) -> None:
    if not device.writable:
        raise _Refusal(errno.EROFS)
    if offset + length > device.size:
        raise _Refusal(errno.EFBIG)


class _Refusal(Exception):
    """An answer, not a failure: the request asks for what this file is not meant for."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


def _init(major: int, minor: int, max_readahead: int, flags: int) -> bytes:
    # Only what this kernel offers: one before 4.20 does not know FUSE_MAX_PAGES.
    wanted = (_ASYNC_READ | _BIG_WRITES | _MAX_PAGES) & flags
    return _INIT.pack(
        _MAJOR, min(minor, _MINOR), max_readahead, wanted, 16, 12, MAX_WRITE, 1, _PAGES, 0, 0
    )

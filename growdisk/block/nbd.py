"""Serves a block device over NBD on a unix socket: the appliance's only way to an image.

Threads of this process serve. So growdisk's engine stays the one writer of the image, a snapshot
can be taken between two requests without restarting the appliance, and a qemu that outlives
growdisk can no longer write.

A full host disk is answered with EIO, never ENOSPC: QEMU's default (werror=enospc) *stops* its
guest on ENOSPC and waits for a person, so that the appliance would hang for ever. The true error is
kept in `NbdServer.failure`. Spec:
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, "Transmission phase", simple
replies.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from growdisk.block.device import BlockDevice, check_range
from growdisk.block.nbd_handshake import MAX_REQUEST, Export, PeerGone, negotiate, receive
from growdisk.durable import scratch_folder
from growdisk.fast_dataclass import NamedTuple
from growdisk.fast_imports import LateLogger

_log = LateLogger("growdisk.nbd")

_REQUEST = struct.Struct(">IHHQQI")
_REPLY = struct.Struct(">IIQ")
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_FLAG_FUA = 1
_SMALL = 64 << 10
_SOCKET_BUFFER = 4 << 20
_OK, _EPERM, _EIO, _EINVAL = 0, 1, 5, 22


class _NbdCommand(IntEnum):
    READ = 0
    WRITE = 1
    DISCONNECT = 2
    FLUSH = 3
    TRIM = 4
    WRITE_ZEROES = 6


_CHANGING = frozenset({_NbdCommand.WRITE, _NbdCommand.TRIM, _NbdCommand.WRITE_ZEROES})


class _NbdRequest(NamedTuple):
    magic: int
    flags: int
    command: int
    cookie: int
    offset: int
    length: int


class NbdServer:
    """A context manager: listens from entering to leaving.

    When it is left, no request is in flight any more.
    """

    def __init__(self, device: BlockDevice, socket_path: Path) -> None:
        self.socket_path = socket_path
        # the first error of the device that was reported to a client
        self.failure: Exception | None = None
        self._device = device
        self._export = Export.of(device.size, writable=device.writable)
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._acceptor = threading.Thread(
            target=self._accept_clients, name="nbd-accept", daemon=True
        )

    def __enter__(self) -> NbdServer:
        self._listener.bind(os.fspath(self.socket_path))
        self.socket_path.chmod(0o600)
        self._listener.listen()
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(); close alone would not
        self._acceptor.join()
        self._listener.close()
        # A copy: each thread takes its own connection out when it ends.
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join()
        self.socket_path.unlink(missing_ok=True)

    def _accept_clients(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the listener was shut down
                return
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="nbd-client", daemon=True
            )
            # Before it starts: a client that is gone at once takes itself out again.
            self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(PeerGone, ConnectionError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            negotiate(connection, self._export)
            while True:
                request = _REQUEST.unpack(receive(connection, _REQUEST.size))
                self._answer(connection, _NbdRequest._make(request))
        self._connections.pop(connection, None)

    def _answer(self, connection: socket.socket, request: _NbdRequest) -> None:
        if request.magic != _REQUEST_MAGIC or request.command == _NbdCommand.DISCONNECT:
            raise PeerGone
        payload = bytearray()
        if request.command == _NbdCommand.WRITE:
            # Its data follow: to refuse it and go on, all of them would have to be read first.
            if request.length > MAX_REQUEST:
                raise PeerGone
            payload = receive(connection, request.length)
        status = self._refusal(request)
        data = b""
        if status == _OK:
            status, data = self._perform(request, payload)
        _send(connection, _REPLY.pack(_REPLY_MAGIC, status, request.cookie), data)

    def _refusal(self, request: _NbdRequest) -> int:
        if request.command in _CHANGING and self._export.read_only:
            return _EPERM
        if request.command == _NbdCommand.READ and request.length > MAX_REQUEST:
            return _EINVAL
        try:
            check_range(self._export.size, request.offset, request.length)
        except ValueError:
            return _EINVAL
        return _OK

    def _perform(self, request: _NbdRequest, payload: bytearray) -> tuple[int, bytes]:
        """Let the device do it. The status, and what was read."""
        try:
            with self._lock:
                return _OK, _do(self._device, request, payload)
        except NotImplementedError:
            return _EINVAL, b""
        except Exception as error:
            # a bug of the engine too must reach the main thread, not die with this one
            _log.debug(
                "nbd %s at %#x+%#x: %s", request.command, request.offset, request.length, error
            )
            self.failure = self.failure or error
            return _EIO, b""


def _do(device: BlockDevice, request: _NbdRequest, payload: bytearray) -> bytes:
    data = b""
    match request.command:
        case _NbdCommand.READ:
            data = device.read(request.offset, request.length)
        case _NbdCommand.WRITE:
            device.write(request.offset, payload)
        case _NbdCommand.WRITE_ZEROES:
            device.write_zeros(request.offset, request.length)
        case _NbdCommand.TRIM:
            device.discard(request.offset, request.length)
        case _NbdCommand.FLUSH:
            device.flush()
        case _:
            raise NotImplementedError
    # FUA: the client counts on this write being durable when it is answered.
    if request.flags & _FLAG_FUA and request.command in _CHANGING:
        device.flush()
    return data


def _send(connection: socket.socket, header: bytes, data: bytes) -> None:
    # one system call; copying large data would cost more than the second call
    if len(data) <= _SMALL:
        connection.sendall(header + data)
        return
    connection.sendall(header, socket.MSG_MORE)
    connection.sendall(data)


@contextlib.contextmanager
def serve(device: BlockDevice) -> Iterator[NbdServer]:
    """Serve `device` at a socket in a private directory, within a socket path's 107 bytes."""
    parent = folder if len(folder := tempfile.gettempdir()) < 60 else "/tmp"
    with (
        scratch_folder("growdisk-nbd-", parent) as directory,
        NbdServer(device, directory / "nbd") as server,
    ):
        yield server

"""The NBD handshake: client and server agree on an export, its size and what it can do.

The surprising thing: an option's data must be read to its end even if the option is refused, else
the stream is out of step. One export, whatever its name; no TLS, no structured replies: unknown
options are answered "unsupported". Spec:
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, "Fixed newstyle negotiation".
"""

from __future__ import annotations

import socket
import struct

from growdisk.fast_dataclass import dataclass

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_OPTION_MAGIC = b"IHAVEOPT"
_REPLY_MAGIC = 0x3E889045565A9
_LONGEST_OPTION = 64 << 10

_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_EXPORT_NAME, _OPT_ABORT, _OPT_LIST, _OPT_INFO, _OPT_GO = 1, 2, 3, 6, 7
_REP_ACK, _REP_SERVER, _REP_INFO = 1, 2, 3
_REP_ERR_UNSUP, _REP_ERR_INVALID = (1 << 31) + 1, (1 << 31) + 3
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3

_HAS_FLAGS = 1
_READ_ONLY = 2
_CAN_FLUSH = 4
_CAN_FUA = 8
_CAN_TRIM = 32
_CAN_WRITE_ZEROES = 64
_MULTI_CONN = 256
_WRITER_FLAGS = _CAN_FLUSH | _CAN_FUA | _CAN_TRIM | _CAN_WRITE_ZEROES

MAX_REQUEST = 32 << 20
_SMALLEST_BLOCK, _PREFERRED_BLOCK = 1, 4096


class ClientGone(Exception):
    """The peer closed the connection, said goodbye, or does not speak the protocol."""


@dataclass(frozen=True)
class Export:
    """What is offered: a device of `size` bytes."""

    size: int
    writable: bool

    @property
    def flags(self) -> int:
        # One device lies behind every connection, so a flush on one covers the writes of all:
        # MULTI_CONN is true.
        return (
            _HAS_FLAGS | _MULTI_CONN | (_WRITER_FLAGS if self.writable else _READ_ONLY | _CAN_FLUSH)
        )


def receive(connection: socket.socket, length: int) -> bytearray:
    """Exactly `length` bytes; ClientGone when the stream ends before."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view, 0, socket.MSG_WAITALL)
        if count == 0:
            raise ClientGone
        view = view[count:]
    return buffer


def negotiate(connection: socket.socket, export: Export) -> None:
    """Haggle until the client has chosen the export.

    Raises ClientGone when it goes away instead.
    """
    connection.sendall(_GREETING.pack(b"NBDMAGIC", _OPTION_MAGIC, _FIXED_NEWSTYLE | _NO_ZEROES))
    client_flags = int.from_bytes(receive(connection, 4), "big")
    # The protocol's rule for flags that were not offered: end the connection.
    if client_flags & ~(_FIXED_NEWSTYLE | _NO_ZEROES):
        raise ClientGone
    while not _answer_option(connection, export, padded=not client_flags & _NO_ZEROES):
        pass


def _answer_option(connection: socket.socket, export: Export, *, padded: bool) -> bool:
    """Read one option and answer it; True when transmission begins."""
    magic, option, length = _OPTION.unpack(receive(connection, _OPTION.size))
    if magic != _OPTION_MAGIC or length > _LONGEST_OPTION:
        raise ClientGone
    data = bytes(receive(connection, length))
    # the one option without a reply header: the client cannot be told of an error
    if option == _OPT_EXPORT_NAME:
        connection.sendall(
            struct.pack(">QH", export.size, export.flags) + bytes(124 if padded else 0)
        )
        return True
    if option in (_OPT_INFO, _OPT_GO):
        return _answer_info(connection, option, export, data)
    if option == _OPT_LIST and not data:
        _reply(connection, option, _REP_SERVER, struct.pack(">I", 0))  # one export, named ""
        _reply(connection, option, _REP_ACK)
    elif option == _OPT_ABORT:
        _reply(connection, option, _REP_ACK)
        raise ClientGone
    else:
        _reply(connection, option, _REP_ERR_INVALID if option == _OPT_LIST else _REP_ERR_UNSUP)
    return False


def _answer_info(connection: socket.socket, option: int, export: Export, data: bytes) -> bool:
    if not _is_info_request(data):
        _reply(connection, option, _REP_ERR_INVALID)
        return False
    # The smallest and the preferred block, and the largest request.
    blocks = struct.pack(">HIII", _INFO_BLOCK_SIZE, _SMALLEST_BLOCK, _PREFERRED_BLOCK, MAX_REQUEST)
    _reply(
        connection, option, _REP_INFO, struct.pack(">HQH", _INFO_EXPORT, export.size, export.flags)
    )
    _reply(connection, option, _REP_INFO, blocks)
    _reply(connection, option, _REP_ACK)
    return option == _OPT_GO


def _is_info_request(data: bytes) -> bool:
    """Whether the lengths fit: a name after its length (4 bytes), kinds after their count (2)."""
    if len(data) < 6:
        return False
    name_end = 4 + int.from_bytes(data[:4], "big")
    count = int.from_bytes(data[name_end : name_end + 2], "big")
    return len(data) == name_end + 2 + 2 * count


def _reply(connection: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    connection.sendall(_OPTION_REPLY.pack(_REPLY_MAGIC, option, kind, len(data)) + data)

"""Asks an NBD server what it offers, and takes nothing: size, and what it can do.

Data go through QEMU's own client. A server that ends with its client does not count this as one,
for no export is chosen. Spec: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md,
"Fixed newstyle negotiation", NBD_OPT_INFO.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from growdisk.block.address import Address
from growdisk.block.nbd_handshake import ClientGone, receive
from growdisk.fast_dataclass import dataclass

_OPTION, _REPLY = struct.Struct(">8sII"), struct.Struct(">QIII")
_OPTION_MAGIC, _REPLY_MAGIC = b"IHAVEOPT", 0x3E889045565A9
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_ABORT, _INFO = 2, 6
_ACK, _INFO_REPLY, _ERROR = 1, 3, 1 << 31
_EXPORT = 0
_READ_ONLY, _CAN_FLUSH, _MULTI_CONN = 2, 4, 256
_LONGEST_REPLY = 64 << 10


class NotOffered(Exception):
    """In words for people: the server gives nothing, or is none."""


@dataclass(frozen=True)
class Offer:
    """What the server says of the export. `size` is in bytes."""

    size: int
    flags: int

    @property
    def read_only(self) -> bool:
        return bool(self.flags & _READ_ONLY)

    @property
    def can_flush(self) -> bool:
        return bool(self.flags & _CAN_FLUSH)

    @property
    def for_several(self) -> bool:
        """The server says itself that several clients at a time would see the same."""
        return bool(self.flags & _MULTI_CONN)


def query_export(server: Address, seconds: float) -> Offer:
    """What the server offers for an export.

    NotOffered if it refuses; TimeoutError without an answer for `seconds`; OSError if it cannot be
    reached.
    """
    with _connected(server, seconds) as connection:
        try:
            return _asked(connection, server.path.encode())
        except ClientGone as error:
            raise NotOffered("its server ends the connection") from error


def _connected(server: Address, seconds: float) -> socket.socket:
    if not server.socket:
        return socket.create_connection((server.host, server.port), timeout=seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(server.socket)
    except BaseException:
        connection.close()
        raise
    return connection


def _asked(connection: socket.socket, export: bytes) -> Offer:
    greeting = receive(connection, 16)
    if greeting != b"NBDMAGIC" + _OPTION_MAGIC:
        raise NotOffered("what answers there is not an NBD server, or speaks an old form of it")
    flags = int.from_bytes(receive(connection, 2), "big")
    if not flags & _FIXED_NEWSTYLE:
        raise NotOffered("its server speaks an old form of NBD")
    connection.sendall((flags & (_FIXED_NEWSTYLE | _NO_ZEROES)).to_bytes(4, "big"))
    # The name after its length; then no kinds of information: the size comes unasked.
    _send(connection, _INFO, struct.pack(">I", len(export)) + export + bytes(2))
    offer = _offered(connection)
    # A polite end; whether the server hears of it does not matter.
    with suppress(OSError, ClientGone):
        _send(connection, _ABORT, b"")
        receive(connection, _REPLY.size)
    return offer


def _send(connection: socket.socket, option: int, data: bytes) -> None:
    connection.sendall(_OPTION.pack(_OPTION_MAGIC, option, len(data)) + data)


def _offered(connection: socket.socket) -> Offer:
    offer: Offer | None = None
    while True:
        magic, option, kind, length = _REPLY.unpack(receive(connection, _REPLY.size))
        if (magic, option) != (_REPLY_MAGIC, _INFO) or length > _LONGEST_REPLY:
            raise NotOffered("its server does not keep to the protocol")
        data = bytes(receive(connection, length))
        if kind & _ERROR:
            reason = data.decode(errors="replace") or "it does not offer this export"
            raise NotOffered(f"its server says: {reason}")
        if kind == _INFO_REPLY and len(data) == 12 and int.from_bytes(data[:2], "big") == _EXPORT:
            _, size, flags = struct.unpack(">HQH", data)
            offer = Offer(size, flags)
        if kind == _ACK:
            if offer is None:
                raise NotOffered("its server does not tell the size")
            return offer

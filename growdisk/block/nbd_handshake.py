"""The NBD handshake, from both ends: an export, its size and what it can do.

Our server has one export, whatever its name; no TLS, no structured replies: unknown options are
answered "unsupported". An option's data must be read to its end even if the option is refused, else
the stream is out of step. Our client asks another server what it offers, and takes nothing: data go
through QEMU's own client. A server that ends with its client does not count this as one, for no
export is chosen. Spec: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, "Fixed
newstyle negotiation", NBD_OPT_INFO.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # the server needs no addresses
if TYPE_CHECKING:
    from growdisk.block.address import Address

_GREETING = struct.Struct(">8s8sH")
_OPTION = struct.Struct(">8sII")
_OPTION_REPLY = struct.Struct(">QIII")
_OPTION_MAGIC = b"IHAVEOPT"
_REPLY_MAGIC = 0x3E889045565A9
_LONGEST = 64 << 10  # of what follows an option or a reply

_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPT_EXPORT_NAME, _OPT_ABORT, _OPT_LIST, _OPT_INFO, _OPT_GO = 1, 2, 3, 6, 7
_REP_ACK, _REP_SERVER, _REP_INFO = 1, 2, 3
_ERROR = 1 << 31
_REP_ERR_UNSUP, _REP_ERR_INVALID = _ERROR + 1, _ERROR + 3
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3

_HAS_FLAGS, _READ_ONLY, _CAN_FLUSH, _CAN_FUA = 1, 2, 4, 8
_CAN_TRIM, _CAN_WRITE_ZEROES, _MULTI_CONN = 32, 64, 256

MAX_REQUEST = 32 << 20
_SMALLEST_BLOCK, _PREFERRED_BLOCK = 1, 4096


class PeerGone(Exception):
    """The peer closed the connection, said goodbye, or does not speak the protocol."""


class NotOffered(Exception):
    """In words for people: the server gives nothing, or is none."""


@dataclass(frozen=True)
class Export:
    """What a server offers: a device of `size` bytes, and what can be done with it."""

    size: int
    flags: int

    @classmethod
    def of(cls, size: int, *, writable: bool) -> Export:
        """One device lies behind every connection.

        So a flush on one covers the writes of all: MULTI_CONN is true.
        """
        can = _CAN_FLUSH | _CAN_FUA | _CAN_TRIM | _CAN_WRITE_ZEROES
        return cls(size, _HAS_FLAGS | _MULTI_CONN | (can if writable else _READ_ONLY | _CAN_FLUSH))

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


def receive(connection: socket.socket, length: int) -> bytearray:
    """Exactly `length` bytes; PeerGone when the stream ends before."""
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view, 0, socket.MSG_WAITALL)
        if count == 0:
            raise PeerGone
        view = view[count:]
    return buffer


def negotiate(connection: socket.socket, export: Export) -> None:
    """Haggle until the client has chosen the export.

    Raises PeerGone when it goes away instead.
    """
    connection.sendall(_GREETING.pack(b"NBDMAGIC", _OPTION_MAGIC, _FIXED_NEWSTYLE | _NO_ZEROES))
    client_flags = int.from_bytes(receive(connection, 4), "big")
    # The protocol's rule for flags that were not offered: end the connection.
    if client_flags & ~(_FIXED_NEWSTYLE | _NO_ZEROES):
        raise PeerGone
    while not _answer_option(connection, export, padded=not client_flags & _NO_ZEROES):
        pass


def _answer_option(connection: socket.socket, export: Export, *, padded: bool) -> bool:
    """Read one option and answer it; True when transmission begins."""
    magic, option, length = _OPTION.unpack(receive(connection, _OPTION.size))
    if magic != _OPTION_MAGIC or length > _LONGEST:
        raise PeerGone
    data = bytes(receive(connection, length))
    # the one option without a reply header: no error can be reported to the client
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
        raise PeerGone
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


# --- the client's side --------------------------------------------------------------------------


def query_export(server: Address, seconds: float) -> Export:
    """What the server offers for an export.

    NotOffered if it refuses; TimeoutError without an answer for `seconds`; OSError if it cannot be
    reached.
    """
    with _connected(server, seconds) as connection:
        try:
            return _asked(connection, server.path.encode())
        except PeerGone as error:
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


def _asked(connection: socket.socket, export: bytes) -> Export:
    greeting = receive(connection, 16)
    if greeting != b"NBDMAGIC" + _OPTION_MAGIC:
        raise NotOffered("what answers there is not an NBD server, or speaks an old form of it")
    flags = int.from_bytes(receive(connection, 2), "big")
    if not flags & _FIXED_NEWSTYLE:
        raise NotOffered("its server speaks an old form of NBD")
    connection.sendall((flags & (_FIXED_NEWSTYLE | _NO_ZEROES)).to_bytes(4, "big"))
    # The name after its length; then no kinds of information: the size comes unasked.
    _send(connection, _OPT_INFO, struct.pack(">I", len(export)) + export + bytes(2))
    offer = _offered(connection)
    # A polite end; whether the server hears of it does not matter.
    with suppress(OSError, PeerGone):
        _send(connection, _OPT_ABORT, b"")
        receive(connection, _OPTION_REPLY.size)
    return offer


def _send(connection: socket.socket, option: int, data: bytes) -> None:
    connection.sendall(_OPTION.pack(_OPTION_MAGIC, option, len(data)) + data)


def _offered(connection: socket.socket) -> Export:
    offer: Export | None = None
    while True:
        magic, option, kind, length = _OPTION_REPLY.unpack(receive(connection, _OPTION_REPLY.size))
        if (magic, option) != (_REPLY_MAGIC, _OPT_INFO) or length > _LONGEST:
            raise NotOffered("its server does not keep to the protocol")
        data = bytes(receive(connection, length))
        if kind & _ERROR:
            reason = data.decode(errors="replace") or "it does not offer this export"
            raise NotOffered(f"its server says: {reason}")
        if (
            kind == _REP_INFO
            and len(data) == 12
            and int.from_bytes(data[:2], "big") == _INFO_EXPORT
        ):
            _, size, flags = struct.unpack(">HQH", data)
            offer = Export(size, flags)
        if kind == _REP_ACK:
            if offer is None:
                raise NotOffered("its server does not tell the size")
            return offer

"""Our NBD server, judged by QEMU's client (qemu-img, qemu-io) and by the bytes on the wire."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.block.nbd import NbdServer, serve
from growdisk.block.raw import RawFile

MiB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RawFile]:
    device = RawFile.create(tmp_path / "disk.raw", 16 * MiB)
    yield device
    device.close()


class FailingDisk(RawFile):
    """Fails every write with `errno_to_raise`; reads work."""

    errno_to_raise = errno.ENOSPC

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        raise OSError(self.errno_to_raise, "No space left on device")


def uri(server: NbdServer) -> str:
    return f"nbd+unix:///?socket={server.socket_path}"


def qemu_io(server: NbdServer, *commands: str, readonly: bool = False) -> str:
    argv = ["qemu-io", "-f", "raw", *(["-r"] if readonly else []), uri(server)]
    for command in commands:
        argv += ["-c", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def connect(server: NbdServer) -> socket.socket:
    """A client that has got as far as the option phase."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(server.socket_path))
    assert client.recv(18, socket.MSG_WAITALL)[:16] == b"NBDMAGICIHAVEOPT"
    client.sendall(struct.pack(">I", 3))
    return client


def option(client: socket.socket, number: int, data: bytes = b"") -> None:
    client.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)


def option_reply(client: socket.socket) -> tuple[int, bytes]:
    magic, _, kind, length = struct.unpack(">QIII", client.recv(20, socket.MSG_WAITALL))
    assert magic == 0x3E889045565A9
    return kind, client.recv(length, socket.MSG_WAITALL) if length else b""


def go(client: socket.socket) -> None:
    option(client, 7, struct.pack(">IH", 0, 0))
    while option_reply(client)[0] != 1:
        pass


def request(
    client: socket.socket, command: int, offset: int, length: int, payload: bytes = b""
) -> int:
    """Send one request, give back the error number of its reply."""
    client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, 77, offset, length) + payload)
    magic, error, cookie = struct.unpack(">IIQ", client.recv(16, socket.MSG_WAITALL))
    assert (magic, cookie) == (0x67446698, 77)
    return int(error)


def test_qemu_writes_reads_zeroes_trims_and_flushes_through_it(disk: RawFile) -> None:
    disk.write(8 * MiB, b"\xcc" * MiB)
    with serve(disk) as server:
        out = qemu_io(
            server, "write -P 0xab 4096 3M", "write -f -P 0xcd 512 512", "write -z 1M 1M",
            "discard 8M 64k", "flush", "read -P 0xab 4096 1044480", "read -P 0 1M 1M",
            "read -P 0xcd 512 512", "read -P 0xcc 9371648 65536",
        )  # fmt: skip
    assert "failed" not in out and "error" not in out.lower(), out
    assert disk.read(4096, 2 * MiB - 4096) == b"\xab" * (MiB - 4096) + bytes(MiB)
    assert server.failure is None


def test_what_qemu_reads_is_what_the_file_holds(disk: RawFile, tmp_path: Path) -> None:
    disk.write(5 * MiB + 3, b"somewhere in the middle")
    with serve(disk) as server:
        compare = subprocess.run(
            ["qemu-img", "compare", "-f", "raw", uri(server), str(disk.path), "-U"], timeout=60
        )
    assert compare.returncode == 0


def test_a_read_only_device_refuses_to_be_written(tmp_path: Path) -> None:
    RawFile.create(tmp_path / "disk.raw", MiB).close()
    device = RawFile.open(tmp_path / "disk.raw")
    with serve(device) as server:
        assert "Permission denied" in qemu_io(server, "write 0 512")
        assert "read 512/512" in qemu_io(server, "read 0 512", readonly=True)
        with connect(server) as client:
            go(client)
            assert request(client, 1, 0, 512, bytes(512)) == errno.EPERM
            assert request(client, 6, 0, 512) == errno.EPERM
    device.close()


def test_a_full_host_disk_is_an_io_error_to_the_client_and_kept_for_the_caller(
    tmp_path: Path,
) -> None:
    RawFile.create(tmp_path / "disk.raw", MiB).close()
    device = FailingDisk.open(tmp_path / "disk.raw", writable=True)
    with serve(device) as server:
        assert "Input/output error" in qemu_io(server, "write 0 512", "read 0 512")
    assert isinstance(server.failure, OSError) and server.failure.errno == errno.ENOSPC
    device.close()


def test_an_error_does_not_end_the_connection(tmp_path: Path) -> None:
    RawFile.create(tmp_path / "disk.raw", MiB).close()
    device = FailingDisk.open(tmp_path / "disk.raw", writable=True)
    with serve(device) as server, connect(server) as client:
        go(client)
        assert request(client, 1, 0, 4, b"abcd") == errno.EIO
        assert request(client, 0, MiB - 1, 2) == errno.EINVAL
        assert request(client, 9, 0, 0) == errno.EINVAL
        assert request(client, 3, 0, 0) == 0
    device.close()


def test_old_clients_choose_the_export_by_name_only(disk: RawFile) -> None:
    with serve(disk) as server, connect(server) as client:
        option(client, 1, b"whatever")
        size, flags = struct.unpack(">QH", client.recv(10, socket.MSG_WAITALL))
        assert size == 16 * MiB and flags & 1
        assert request(client, 3, 0, 0) == 0


def test_options_may_be_asked_for_before_going(disk: RawFile) -> None:
    with serve(disk) as server, connect(server) as client:
        option(client, 8)  # structured replies: unsupported
        assert option_reply(client)[0] == (1 << 31) + 1
        option(client, 3)
        assert [option_reply(client), option_reply(client)] == [(2, bytes(4)), (1, b"")]
        option(client, 6, b"\0\0")  # malformed
        assert option_reply(client)[0] == (1 << 31) + 3
        option(client, 6, struct.pack(">I5sH", 5, b"named", 0))
        assert option_reply(client)[1][:10] == struct.pack(">HQ", 0, 16 * MiB)
        assert option_reply(client)[1] == struct.pack(">HIII", 3, 1, 4096, 32 * MiB)
        assert option_reply(client)[0] == 1
        option(client, 2)
        assert option_reply(client)[0] == 1
        assert client.recv(1) == b""


def test_a_client_that_talks_nonsense_is_dropped_and_the_next_one_served(disk: RawFile) -> None:
    with serve(disk) as server:
        with connect(server) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
        assert "failed" not in qemu_io(server, "read 0 512")


def test_leaving_the_server_ends_its_threads_and_its_socket(disk: RawFile) -> None:
    before = threading.active_count()
    with serve(disk) as server, connect(server) as client:
        go(client)
        assert server.socket_path.parent.stat().st_mode & 0o777 == 0o700
    assert threading.active_count() == before
    assert not server.socket_path.parent.exists()

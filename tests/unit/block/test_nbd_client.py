"""What a server offers, asked without being its client: growdisk's, QEMU's, and no server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from growdisk.block.address import Address
from growdisk.block.nbd import serve
from growdisk.block.nbd_handshake import NotOffered, query_export
from growdisk.block.raw import RawFile
from tests.hosts.far import await_listening

MiB = 1 << 20


def at(path: Path, export: str = "") -> Address:
    return Address("nbd+unix", export, socket=str(path))


def test_size_and_abilities_are_told(tmp_path: Path) -> None:
    disk = RawFile.create(tmp_path / "disk.raw", 3 * MiB)
    with serve(disk) as server:
        offer = query_export(at(server.socket_path), 5)
    disk.close()
    assert (offer.size, offer.read_only, offer.can_flush) == (3 * MiB, False, True)
    assert offer.for_several is True


def test_a_server_that_ends_with_its_client_goes_on_after_it_was_asked(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(MiB))
    words = [
        "qemu-nbd",
        f"--socket={tmp_path}/far",
        "--export-name=a",
        "--format=raw",
        tmp_path / "disk.raw",
    ]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        await_listening(server, tmp_path / "far")
        for _ in range(2):
            offer = query_export(at(tmp_path / "far", "a"), 10)
            assert (offer.size, offer.read_only, offer.can_flush) == (MiB, False, True)
            assert offer.for_several is False
        with pytest.raises(NotOffered, match="its server says"):
            query_export(at(tmp_path / "far", "b"), 10)
        assert server.poll() is None
    finally:
        server.kill()
        server.wait()


@contextmanager
def answering(path: Path, data: bytes) -> Iterator[None]:
    """What says this to everybody and then hangs up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    client.sendall(data)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(20),
        b"NBDMAGIC" + b"\x00\x00\x42\x02\x81\x86\x12\x53" + bytes(144),
        b"NBDMAGICIHAVEOPT\x00\x00",
        b"NBDMAGICIHAVEOPT\x00\x03" + bytes(20),
    ],
)
def test_what_does_not_keep_to_the_protocol_offers_nothing(tmp_path: Path, data: bytes) -> None:
    with answering(tmp_path / "far", data), pytest.raises((NotOffered, ConnectionError)):
        query_export(at(tmp_path / "far"), 5)


def test_who_does_not_answer_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "far"))
        listener.listen()
        with pytest.raises(TimeoutError):
            query_export(at(tmp_path / "far"), 0.05)

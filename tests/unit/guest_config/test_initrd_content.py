"""What is inside an initrd, however it was packed, and what is said of one that is damaged."""

import bz2
import lzma
import subprocess
import zlib
from collections.abc import Callable

import pytest

from growdisk.filesystems import unpacking
from growdisk.guest_config.initrd_content import Maker, contents_of
from tests.unit.guest_config.archives import cpio

_RESUME = ("conf/conf.d/resume", b"RESUME=UUID=1234\n")
_MODULE = ("lib/modules/ext4.ko", bytes(range(256)) * 4608)  # more than a piece


def by(*command: str) -> Callable[[bytes], bytes]:
    return lambda data: subprocess.run(command, input=data, capture_output=True, check=True).stdout


def gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": by("zstd", "-q", "-c"),
    "lz4": by("lz4", "-l", "-c"),
}


@pytest.mark.parametrize("packer", PACKERS)
def test_small_files_are_read_and_large_ones_passed_over(packer: str) -> None:
    archive = cpio(("conf/initramfs.conf", b"MODULES=most\n"), _MODULE, _RESUME)
    contents = contents_of(PACKERS[packer](archive))
    assert contents.unread == ""
    assert contents.maker is Maker.INITRAMFS_TOOLS
    assert [(member.name, member.content) for member in contents.members] == [
        ("conf/initramfs.conf", b"MODULES=most\n"),
        (_MODULE[0], b""),
        _RESUME,
    ]
    assert contents.naming((b"UUID=1234",)) == [_RESUME[0]]


@pytest.mark.parametrize("packer", PACKERS)
def test_plain_archives_before_it_and_zeros_between_are_read_too(packer: str) -> None:
    initrd = (
        cpio(("kernel/x86/microcode.bin", b"m" * 700))
        + bytes(512)
        + cpio(("etc/a", b"a"))
        + bytes(8)
    )
    contents = contents_of(initrd + PACKERS[packer](cpio(_RESUME)))
    assert [member.name for member in contents.members] == [
        "kernel/x86/microcode.bin",
        "etc/a",
        _RESUME[0],
    ]


# it says its blocks' length, and no more
@pytest.mark.parametrize("packer", sorted(PACKERS.keys() - {"lz4"}))
def test_one_that_was_cut_off_is_not_taken_for_read(packer: str) -> None:
    packed = PACKERS[packer](cpio(_MODULE, _RESUME))
    assert contents_of(packed[: len(packed) * 2 // 3]).unread


@pytest.mark.parametrize("packer", PACKERS)
def test_one_without_an_end_is_not_taken_for_read(packer: str) -> None:
    assert (
        contents_of(PACKERS[packer](cpio(_MODULE, _RESUME, trailer=False))).unread
        == "its archive ends too early"
    )


@pytest.mark.parametrize(
    "damaged",
    [
        b"070701" + b"x" * 104,
        cpio(_RESUME).replace(b"00000013", b"ffffffff", 1),
        b"070701" + b"0" * 40,
        b"\x28\xb5\x2f\xfd" + b"\xff" * 64,
        b"\x1f\x8b\x08\x00" + b"\xff" * 64,
        b"BZh9" + b"\xff" * 64,
    ],
)
def test_what_is_damaged_is_said_in_words(damaged: bytes) -> None:
    unread = contents_of(damaged).unread
    assert unread and "literal" not in unread


def test_one_that_is_too_large_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("growdisk.guest_config.initrd_content._MOST", 1 << 20)
    assert contents_of(gzip(cpio(_MODULE, _RESUME))).unread.startswith("it is larger than")


@pytest.mark.parametrize("packer", sorted(PACKERS.keys() - {"none"}))
def test_as_much_as_is_wanted_is_unpacked(packer: str) -> None:
    data = bytes(range(256)) * 6_000
    packed = PACKERS[packer](data) + b"what follows"
    assert unpacking.unpacked(packed, len(data)) == data
    assert unpacking.unpacked(packed, 70_001) == data[:70_001]
    assert unpacking.unpacked(packed, 1) == data[:1]

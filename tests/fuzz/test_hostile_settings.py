"""Files of a guest that would keep a careless search busy for ever, or take all memory."""

from __future__ import annotations

import time

import pytest

from growdisk.guest_config.boot_settings import without_dracut_devices, without_kernel_options
from growdisk.guest_config.files import LARGEST_SETTINGS
from growdisk.guest_config.initrd_content import contents_of
from growdisk.guest_config.removed_partition import SwapRemedy
from growdisk.guest_config.repair import doubtful, repair_guest
from tests.unit.backends.gone_swap import OPTIONS, SWAP
from tests.unit.backends.memory_files import Files
from tests.unit.guest_config.archives import cpio

MiB = 1 << 20
PATIENCE = 30.0  # seconds of the processor; what is looked for here takes hours, or a second


@pytest.mark.parametrize(
    "piece", ["=resume=x y", "=resume=\\ ", "resume=LABEL=", " resume=\t", "\n", 'resume="']
)
def test_options_without_an_end_are_gone_through_in_little_time(piece: str) -> None:
    text, started = " resume=" + piece * (MiB // 4 // len(piece)), time.process_time()
    assert without_kernel_options(text, SWAP) == text
    assert without_dracut_devices(text, SWAP) == text
    assert time.process_time() - started < PATIENCE


def test_doubtful_names_without_an_end_are_gone_through_in_little_time() -> None:
    files = Files(**{"/etc/fstab": "", "/etc/default/grub": "-part7 " + "/dev/mapper/a" * 70_000})
    started = time.process_time()
    assert list(doubtful(files, SWAP, rooted=True)) == []
    assert time.process_time() - started < PATIENCE


def test_what_is_too_large_for_settings_is_not_read_whole() -> None:
    class Counted(Files):
        def read(self, path: str) -> bytes:
            assert len(self.contents[path]) <= LARGEST_SETTINGS, path
            return super().read(path)

    large = f"{OPTIONS}\n".encode().ljust(LARGEST_SETTINGS + 1, b" ")
    files = Counted(**{"/etc/fstab": large, "/etc/default/grub": large, "/boot/a.cfg": OPTIONS})
    changes = repair_guest(files, SWAP, SwapRemedy.DROP)
    assert [change.path for change in changes] == ["/boot/a.cfg"]


def test_an_initrd_of_more_files_than_there_can_be_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ("firmware/one.bin", bytes(200 << 10))
    program = ("usr/bin/one", b"\x7fELF" + bytes(200 << 10))
    monkeypatch.setattr("growdisk.guest_config.initrd_content._MOST_KEPT", MiB)
    assert "more small files" in contents_of(cpio(*[one] * 6)).unread
    monkeypatch.setattr("growdisk.guest_config.initrd_content._MOST_MEMBERS", 50)
    found = contents_of(cpio(*[program] * 50))
    assert not found.unread and all(member.content == b"" for member in found.members)
    assert "more small files" in contents_of(cpio(*[program] * 51)).unread

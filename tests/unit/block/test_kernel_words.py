"""What the kernel says of this host may hold bytes that are not text: names of files, programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from growdisk.block.host_devices import loops
from growdisk.block.locks import named_process
from tests.guests.loops import loop


def test_a_program_whose_name_is_not_text_is_named() -> None:
    name = Path("/proc/self/comm")
    before = name.read_bytes()
    name.write_bytes(b"m\xfcller")
    try:
        assert named_process(os.getpid()) == f"m\udcfcller (pid {os.getpid()})"
    finally:
        name.write_bytes(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root attaches a loop device")
def test_a_loop_device_on_a_file_whose_name_is_not_text_is_seen(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"m\xfcller.raw")
    path.write_bytes(bytes(1 << 20))
    with loop(path):
        assert str(path) in [found.path for found in loops()]

"""QEMU's programs and we keep each other out of an image, in both directions."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.errors import ImageInUse


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "10M"], check=True)
    return path


@contextmanager
def qemu_holding(image: Path, *options: str, backing: Path | None = None) -> Iterator[int]:
    """qemu-io with the image, and what is below it, open; its pid.

    It waits for commands, as a running guest does.
    """
    command = ["qemu-io", "-f", "qcow2", *options, str(image)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        wait_for_locks(process.pid, image)
        if backing is not None:  # it is opened after the overlay
            wait_for_locks(process.pid, backing)
        yield process.pid
        process.stdin.close()


def wait_for_locks(pid: int, image: Path) -> None:
    """Until the whole of the locks is there: QEMU takes them in steps."""
    for _ in range(1500):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                if (
                    link.samefile(image)
                    and " 201 " in Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
                ):
                    return
        time.sleep(0.02)
    raise AssertionError("qemu-io did not lock the image")


def qemu_img(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["qemu-img", *map(str, words)], capture_output=True, text=True, check=False
    )


def test_a_writer_of_qemu_keeps_us_out_and_is_named_with_its_pid(image: Path):
    with qemu_holding(image) as pid:
        for writable in (False, True):
            with pytest.raises(ImageInUse) as refusal:
                RawFile.open(image, writable=writable)
            assert refusal.value.holder == f"qemu-io (pid {pid})"
    RawFile.open(image, writable=True).close()


def test_a_reader_of_qemu_lets_us_read_and_not_write(image: Path):
    with qemu_holding(image, "-r") as pid:
        RawFile.open(image).close()
        with pytest.raises(ImageInUse) as refusal:
            RawFile.open(image, writable=True)
        assert f"(pid {pid})" in refusal.value.holder


def test_who_only_looks_at_the_file_is_not_called_its_holder(image: Path):
    with (
        subprocess.Popen(["tail", "-f", image], stdout=subprocess.DEVNULL) as bystander,
        qemu_holding(image) as pid,
    ):
        try:
            with pytest.raises(ImageInUse) as refusal:
                RawFile.open(image, writable=True)
        finally:
            bystander.terminate()
        assert refusal.value.holder == f"qemu-io (pid {pid})"


def test_our_writer_keeps_qemu_out(image: Path):
    ours = RawFile.open(image, writable=True)
    assert "lock" in qemu_img("info", image).stderr
    assert "lock" in qemu_img("resize", image, "20M").stderr
    ours.close()
    assert qemu_img("resize", image, "20M").returncode == 0


def test_our_reader_lets_qemu_read_and_not_write(image: Path):
    ours = RawFile.open(image)
    assert qemu_img("check", image).returncode == 0
    assert "lock" in qemu_img("snapshot", "-c", "one", image).stderr
    ours.close()


def test_two_of_our_own_readers_share_and_a_writer_does_not(image: Path):
    first, second = RawFile.open(image), RawFile.open(image)
    with pytest.raises(ImageInUse) as refusal:
        RawFile.open(image, writable=True)
    assert f"(pid {os.getpid()})" in refusal.value.holder
    first.close()
    second.close()
    RawFile.open(image, writable=True).close()


def test_a_refused_writer_leaves_no_lock_behind(image: Path):
    reader = RawFile.open(image)
    with pytest.raises(ImageInUse):
        RawFile.open(image, writable=True)
    assert qemu_img("check", image).returncode == 0  # another reader may still come
    reader.close()


def test_closing_one_descriptor_keeps_the_locks_of_another(image: Path):
    """The trap of POSIX locks, which drop all of a process's locks at the first close."""
    writer = RawFile.open(image, writable=True)
    os.close(os.open(image, os.O_RDONLY))
    assert "lock" in qemu_img("info", image).stderr
    writer.close()


def test_a_base_of_a_live_overlay_cannot_be_written(image: Path, tmp_path: Path):
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, overlay)
    with qemu_holding(overlay, backing=image), pytest.raises(ImageInUse):
        RawFile.open(image, writable=True)

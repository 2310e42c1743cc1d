"""NTFS and F2FS grown by the direct backend, judged by their tools; taken back on failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.backends.judging import refuse_damaged
from growdisk.errors import ToolFailed
from growdisk.units import MiB
from tests.e2e.conftest import host
from tests.e2e.judges import sfdisk
from tests.e2e.process import Host
from tests.guests.manifest import as_raw
from tests.guests.tools import place_content, run
from tests.unit.cli.command import in_process

__all__ = ["host"]

_SIZE, _START = 128 * MiB, MiB
_TEXT = b"kept\n" * 5000
_CHECKS = {"ntfs": ["ntfsresize", "--info", "--force"], "f2fs": ["fsck.f2fs", "--dry-run"]}
_MAKERS = {"ntfs": ["mkntfs", "-F", "-q", "-f"], "f2fs": ["mkfs.f2fs", "-q"]}


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Path]:
    """A GPT disk with one file system, of the kind that is asked for; an NTFS has a file."""

    def make(kind: str) -> Path:
        raw, alone, image = tmp_path / "disk.raw", tmp_path / "alone", tmp_path / "disk.qcow2"
        for path, size in ((raw, _SIZE), (alone, _SIZE - 2 * MiB)):
            with path.open("wb") as file:
                file.truncate(size)
        run(
            "sfdisk",
            "-q",
            "--no-reread",
            raw,
            stdin=f"label: gpt\nstart=2048, size={(_SIZE - 2 * MiB) // 512}\n",
        )
        run(*_MAKERS[kind], alone)
        if kind == "ntfs":
            (tmp_path / "text").write_bytes(_TEXT)
            run("ntfscp", "-q", "-f", alone, tmp_path / "text", "text")
        place_content(alone, raw, MiB)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
        return image

    return make


def alone(image: Path, folder: Path) -> Path:
    """What is in its partition now."""
    found = folder / "now"
    with as_raw(image, "qcow2") as raw:
        part = sfdisk(raw)[0]
        start, sectors = int(str(part["start"])), int(str(part["size"]))
        run(
            "dd", f"if={raw}", f"of={found}", "bs=512", f"skip={start}", f"count={sectors}",
            "status=none",
        )  # fmt: skip
    return found


@pytest.mark.parametrize("kind", _CHECKS)
def test_it_fills_the_grown_partition(
    made: Callable[[str], Path], host: Host, tmp_path: Path, kind: str
) -> None:
    image = made(kind)
    host.backend = "direct"
    answer = host.growdisk("expand", image, "+200M")
    assert (answer.code, answer.result, answer.document["backend"]) == (0, "changed", "direct"), (
        answer
    )
    now = alone(image, tmp_path)
    said = run(*_CHECKS[kind], now)
    if kind == "ntfs":
        volume = next(line for line in said.splitlines() if line.startswith("Current volume size"))
        assert (
            now.stat().st_size - 4096 <= int(volume.split(":")[1].split()[0]) <= now.stat().st_size
        )
        assert run("ntfscat", "-f", now, "text").encode() == _TEXT
    else:
        blocks = int.from_bytes(now.read_bytes()[1024 + 36 : 1024 + 44], "little")
        assert now.stat().st_size - 4 * MiB < blocks * 4096 <= now.stat().st_size
    assert host.growdisk("expand", image).result == "nochange"


def test_an_ntfs_that_its_tool_refuses_is_given_back(
    made: Callable[[str], Path], host: Host, tmp_path: Path
) -> None:
    image = made("ntfs")
    record = 4 * 4096 + 1024  # of $MFTMirr: where ntfsresize begins to read
    run("qemu-io", "-f", "qcow2", "-c", f"write -P 0xa5 {_START + record} 1k", image)
    copy = tmp_path / "copy.qcow2"
    run("cp", image, copy)
    host.backend = "direct"
    answer = host.growdisk("expand", image, "+200M")
    assert (answer.code, answer.result) == (4, "restored"), answer
    assert "ntfsresize" in str(answer.error["why"])
    run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", image, copy)


def test_where_its_tool_is_missing_libguestfs_does_it(
    made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growdisk.api.host.is_here", lambda tool: tool != "ntfsresize")
    plan = in_process("plan", made("ntfs"), "+200M", "--json").json()
    assert plan["backend"] in ("uml", "guestfs")
    assert plan["backend_reason"] == "ntfsresize is not installed: sudo apt-get install ntfs-3g"


def test_an_f2fs_with_large_zones_grows_though_its_mkfs_left_a_count_wrong(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.touch()
    os.truncate(image, 390 * MiB)
    run("mkfs.f2fs", "-q", "-z", "16", image)
    look = ["fsck.f2fs", "--dry-run", str(image)]
    # Its status tells of what it found now and then.
    found = subprocess.run(look, capture_output=True, text=True, check=False).stdout
    assert "free segment_count matched with CP             [Fail]" in found
    assert in_process("expand", image, "+200M", "--backend", "direct").code == 0
    assert "[Fail]" not in run(*look)


@pytest.mark.parametrize(
    "found",
    [
        "[FSCK] free segment_count matched with CP [Fail] [0x9a]\n[FSCK] next block [Fail]",
        "[FIX] (fsck_chk_inode_blk)\n[FSCK] free segment_count matched with CP [Fail] [0x9a]",
        "cannot be read",
    ],
)
def test_what_is_more_than_a_count_is_damage(found: str) -> None:
    with pytest.raises(ToolFailed):
        refuse_damaged(("fsck.f2fs", "-f"), 1, found)

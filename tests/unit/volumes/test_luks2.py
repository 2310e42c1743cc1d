"""LUKS headers that growdisk leaves alone: too much work, or no data; made by cryptsetup."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from growdisk.block.raw import RawFile
from growdisk.volumes.luks import LuksUnreadable, read_luks_header

MiB = 1 << 20
KEY = b"secret"


def opened(path: Path, change: Callable[[dict[str, Any]], None]) -> bytes | None:
    """The volume key that KEY opens, after `change` to the header's JSON."""
    subprocess.run(["truncate", "-s", "32M", path], check=True)
    subprocess.run(
        ["cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "argon2id",
         "--pbkdf-memory", "64", "--pbkdf-force-iterations", "4", "--key-file", "-", path],
        input=KEY, check=True,
    )  # fmt: skip
    with path.open("r+b") as file:
        file.seek(8)
        size = int.from_bytes(file.read(8), "big") - 4096
        file.seek(4096)
        metadata = json.loads(file.read(size).split(b"\0")[0])
        change(metadata)
        file.seek(4096)
        file.write(json.dumps(metadata).encode().ljust(size, b"\0"))
    with closing(RawFile.open(path)) as device:
        return read_luks_header(device).volume_key(device, KEY)


def test_a_passphrase_opens_what_cryptsetup_made(tmp_path: Path) -> None:
    assert opened(tmp_path / "disk", lambda _: None)


def test_a_slot_that_would_take_hours_is_refused(tmp_path: Path) -> None:
    """A million passes over a GiB; each number by itself would be possible."""

    def change(metadata: dict[str, Any]) -> None:
        metadata["keyslots"]["0"]["kdf"] |= {"time": 1_000_000, "memory": MiB}

    with pytest.raises(LuksUnreadable, match="impossible amount of work"):
        opened(tmp_path / "disk", change)


def test_more_slots_than_there_can_be_are_refused(tmp_path: Path) -> None:
    def change(metadata: dict[str, Any]) -> None:
        slots, digest = metadata["keyslots"], metadata["digests"]["0"]
        slots |= {str(number): slots["0"] for number in range(1, 33)}
        digest["keyslots"] = list(slots)

    with pytest.raises(LuksUnreadable, match="33 key slots"):
        opened(tmp_path / "disk", change)


@pytest.mark.parametrize("version", ["luks1", "luks2"])
def test_a_header_apart_from_its_data_is_none_that_could_grow(tmp_path: Path, version: str) -> None:
    header, data = tmp_path / "header", tmp_path / "data"
    for path in (header, data):
        subprocess.run(["truncate", "-s", "32M", path], check=True)
    subprocess.run(
        ["cryptsetup", "luksFormat", "-q", "--type", version, "--pbkdf", "pbkdf2",
         "--pbkdf-force-iterations", "1000", "--key-file", "-", "--header", header, data],
        input=KEY, check=True,
    )  # fmt: skip
    with closing(RawFile.open(header)) as device:
        assert "lie elsewhere" in read_luks_header(device).fixed

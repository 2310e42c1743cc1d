"""The record of a finished run in the state folder: how it is kept, and which image it is about."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from pathlib import Path

from growdisk.durable import read_record
from growdisk.errors import GrowdiskError
from growdisk.workflow.journal import fold, read_journal
from growdisk.workflow.run_places import is_device_or_served

_FS_IOC_GETVERSION = 0x80087601  # linux/fs.h: ext4, XFS, btrfs and F2FS answer


def make_folder(path: Path) -> None:
    """In the state folder, with what it lies in; only its owner may look into that.

    Whatever the umask, nobody else puts a plan there, which `resume` would carry out.
    """
    if not path.parent.exists():
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o755, exist_ok=True)
    path.mkdir(mode=0o755, exist_ok=True)


def keep_record(folder: Path, record: Path, image: Path) -> None:
    """A copy that appears whole or not at all. It is history: a power cut may lose it."""
    fresh = unfinished_record(record)
    shutil.rmtree(fresh, ignore_errors=True)
    make_folder(fresh)
    for file in folder.iterdir():
        if file.name != "reserve":
            shutil.copyfile(file, fresh / file.name)
    identity = {"path": str(image), "inode": _inode(image), "generation": _generation(image)}
    (fresh / "image.json").write_text(json.dumps(identity))
    # A folder cannot be renamed over one that has something in it.
    shutil.rmtree(record, ignore_errors=True)
    fresh.rename(record)


def unfinished_record(record: Path) -> Path:
    """A record that is being written."""
    return record.with_name(record.name + ".new")


def is_record_of(record: Path, image: Path) -> bool:
    """Whether a record is about this very image: another one may have taken its name since."""
    try:
        known = json.loads(read_record(record / "image.json"))
        if known["inode"] != _inode(image):
            return False
        if len({known.get("generation", 0), _generation(image)} - {0}) > 1:
            return False
        if (record / "part-of.json").exists():
            return True
        json.loads(read_record(record / "plan.json"))
        # What a power cut left of a record would read as an unfinished run, with no way to go on
        # with it.
        return fold(read_journal(record / "journal.jsonl")).finished
    except (OSError, ValueError, KeyError, TypeError, GrowdiskError):
        return False


def _inode(image: Path) -> int:
    """A device goes by its folder's name alone; its node has another inode after each restart."""
    return 0 if is_device_or_served(image) else image.stat().st_ino


def _generation(image: Path) -> int:
    """Of an inode that is used for another file later it is another number; 0 if it is not told."""
    if is_device_or_served(image):
        return 0
    try:
        with image.open("rb", buffering=0) as file:
            told = fcntl.ioctl(file, _FS_IOC_GETVERSION, bytes(8))
    except OSError:
        return 0
    return int.from_bytes(told[:4], sys.byteorder)

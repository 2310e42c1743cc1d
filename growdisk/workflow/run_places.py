"""Where a run is kept: next to an image file, and in the state folder for a block device.

/dev is the host's memory: what lies there is gone after a power cut. So the run of a device lies on
a real disk, under a name that leads to the same device after a restart. What is left of a finished
run, its record, lies there for all.

    runs/lv-…/     the run of a device: plan, journal, overlays
    done/NAME-…/   the record of the last finished run of an image or a device
    served/nbd-…/  the disk of another host while growdisk works on it, as a file; its run lies in
                   runs/nbd-…/
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from growdisk.block.host_devices import loops
from growdisk.durable import user_folder

STATE_DIR = "GROWDISK_STATE_DIR"
_SUFFIX = ".growdisk"
_RUNS = "runs"
_SERVED = "served"
_ATTRIBUTE = "user.growdisk.run"


def state_folder() -> Path:
    """--state-dir, or GROWDISK_STATE_DIR; else a folder of the system (root) or of the user."""
    if chosen := os.environ.get(STATE_DIR):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/lib/growdisk")
    return user_folder("XDG_STATE_HOME", ".local/state")


def served_disk(identity: str) -> Path:
    """The file that a disk of another host is while growdisk works on it."""
    return Path(os.path.realpath(state_folder())) / _SERVED / identity / "disk"


def is_served(image: Path) -> bool:
    folder = image.parent.parent
    # The path is …/served/IDENTITY/disk.
    return folder.name == _SERVED and os.path.realpath(folder.parent) == os.path.realpath(
        state_folder()
    )


def is_device_or_served(image: Path) -> bool:
    """Whether its run is in the state folder: for a device, or a served disk.

    growdisk must not change the size of these.
    """
    return image.is_block_device() or is_served(image)


def run_folder(image: Path) -> Path:
    """Where the run of an image or device lies."""
    if not is_device_or_served(image):
        return image.with_name(image.name + _SUFFIX)
    return state_folder() / _RUNS / _device_name(image)


def image_beside(folder: Path) -> Path:
    """The image that a run's folder lies next to; the folder itself if it lies elsewhere."""
    return folder.with_name(folder.name.removesuffix(_SUFFIX))


def is_run_folder(folder: Path) -> bool:
    """Whether the run of an image or device lies there, perhaps in another state folder."""
    if folder.suffix == _SUFFIX or os.path.exists(folder / "plan.json"):  # noqa: PTH110 (as above)
        return True
    return os.path.realpath(folder.parent) == os.path.realpath(state_folder() / _RUNS)


def may_have_run(image: Path) -> bool:
    """Whether a run of the image can be recorded anywhere; a quick look, for most have none."""
    if os.path.isdir(f"{os.path.realpath(image)}{_SUFFIX}") or image.is_block_device():  # noqa: PTH112 (a name may be none)
        return True
    if _run_folders_of_links(image):
        return True
    try:  # a run on a loop device is about its file's bytes
        with os.scandir(state_folder() / _RUNS) as folders:
            return any(folders)
    except OSError:
        return False


def record_folder(image: Path) -> Path:
    """Where the record of its last finished run lies."""
    name = _device_name(image) if is_device_or_served(image) else _file_name(image)
    return state_folder() / "done" / name


def same_bytes(image: Path) -> list[Path]:
    """Folders of runs on the same bytes: of a loop device's file, or of a file's loop device.

    And of the file's other names: hard links, bind mounts.
    """
    if is_served(image):
        return []  # attached as a device its run lies in the same folder
    # Here and below: `image info` asks this file what is served, and has no time for devices.
    from growdisk.block.identity import identity_of_backing

    if not image.is_block_device():
        return [state_folder() / _RUNS / identity_of_backing(image), *_run_folders_of_links(image)]
    number = image.stat().st_rdev
    files = [loop.path for loop in loops() if loop.number == number]
    # A file may lie where we cannot look: Path.is_file() would raise.
    return [run_folder(Path(file)) for file in files if os.path.isfile(file)]  # noqa: PTH113


def note_in_file(image: Path, folder: Path) -> None:
    """Make the file say where its run lies, for those who come by another name of it."""
    if not is_device_or_served(image):
        with suppress(OSError):  # a file system without attributes, or a read-only one
            os.setxattr(image, _ATTRIBUTE, os.fsencode(folder))


def remove_note(image: Path) -> None:
    with suppress(OSError):
        os.removexattr(image, _ATTRIBUTE)


def _noted_folder(image: Path) -> list[Path]:
    try:
        return [Path(os.fsdecode(os.getxattr(image, _ATTRIBUTE)))]
    except OSError:
        return []


def _run_folders_of_links(image: Path) -> list[Path]:
    """Of other names that lead to the same file: noted in it, or in the same folder."""
    try:
        folders = _noted_folder(image)
        own = os.path.realpath(image)
        # As long as there are file systems whose files can carry no attribute.
        if os.stat(image).st_nlink > 1:  # noqa: PTH116 (as above)
            with os.scandir(os.path.dirname(own)) as entries:  # noqa: PTH120
                folders += [Path(entry.path) for entry in entries if entry.name.endswith(_SUFFIX)]
        others = ((folder, image_beside(folder)) for folder in folders)
        # A copy of the file has its attributes as well, and is not the same file.
        return [
            folder
            for folder, other in dict(others).items()
            if os.fspath(other) != own and other.exists() and other.samefile(image)
        ]
    except (OSError, ValueError):
        return []


def _device_name(device: Path) -> str:
    if is_served(device):
        return device.parent.name
    from growdisk.block.identity import identity_of

    return identity_of(device.stat().st_rdev) or f"name-{_cleaned(device.resolve().name)}"


def _file_name(image: Path) -> str:
    import hashlib

    digest = hashlib.sha256(os.fsencode(image)).hexdigest()[:16]
    # The digest keeps it unique: _cleaned() changes the name, and cuts it.
    return f"{_cleaned(image.name)}-{digest}"


def _cleaned(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)[-40:]

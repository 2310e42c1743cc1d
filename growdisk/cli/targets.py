"""Which disk is meant: the image file, or a machine by its name or its monitor, which may be running."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.cli.common_options import group_of
from growdisk.errors import ImageNotReadable, UsageError

if TYPE_CHECKING:
    from growdisk.api.live_target import LiveRequest

_INSIDE = ("online", "ssh", "ssh_config", "agent", "guest_disk", "allow_reboot")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Options that name a machine instead of an image."""
    group = group_of(parser, "a machine instead of an image")
    group.add_argument("-d", "--domain", default="", metavar="NAME", help="a machine of libvirt, running or not")
    group.add_argument("-c", "--connect", metavar="URI", help="which libvirt (default: its own choice)")
    group.add_argument("--qmp", type=Path, metavar="SOCKET", help="a running guest by QEMU's monitor (-qmp)")
    group.add_argument("--disk", default="", metavar="ID", help="which disk of the machine: vda, or QEMU's id")


def add_inside(parser: argparse.ArgumentParser) -> None:
    """Options on how to work inside a running guest."""
    group = group_of(parser, "inside a running guest")
    group.add_argument(
        "--online", choices=("auto", "agent", "ssh", "manual"), default="auto",
        help="how to work inside a running guest (default: ssh if --ssh is given, else its guest agent)",
    )  # fmt: skip
    group.add_argument("--ssh", default="", metavar="USER@HOST", help="how ssh reaches the guest (root or sudo)")
    group.add_argument("--ssh-config", type=Path, metavar="FILE", help="ssh -F FILE, as of vagrant ssh-config")
    group.add_argument("--agent", type=Path, metavar="SOCKET", help="the guest agent's socket (default: found)")
    group.add_argument("--guest-disk", default="", metavar="/dev/sdX", help="the disk as the guest names it")
    group.add_argument("--allow-reboot", action="store_true", help="the guest may restart once, where it has to")


def target_of(arguments: argparse.Namespace) -> Path | LiveRequest:
    """A path where nothing speaks of a running guest. UsageError where nothing is named at all."""
    settle_positionals(arguments)
    path: Path | None = arguments.target
    named = bool(arguments.domain or arguments.qmp)
    online = any(getattr(arguments, name, None) not in (None, "", "auto", False) for name in _INSIDE)
    if path is None and not named:
        raise UsageError("no disk is named", hint="name an image, or a machine with -d NAME or --qmp SOCKET")
    if arguments.domain and arguments.qmp:
        raise UsageError("-d and --qmp exclude each other", hint="libvirt keeps the monitor of its machines to itself")
    if path is not None and not named and not online:
        _refuse_no_image(path)
        return path
    return _request(arguments, path)


_URL = re.compile(r"(https?|ftp|s3):/")
_MACHINE_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


def _refuse_no_image(path: Path) -> None:
    """What people write where an image should stand: an address, or the name of a machine."""
    if _URL.match(str(path)):
        reason = "it is an address, and growdisk works on files of this host"
        raise ImageNotReadable(path, reason, "download it first (curl -O or wget), then name the file")
    if _MACHINE_NAME.fullmatch(str(path)) and not path.exists():
        reason = "there is no such file"
        raise ImageNotReadable(path, reason, f"check the path; if it is a machine of libvirt: -d {path}")


def image_of(arguments: argparse.Namespace) -> Path:
    """The image whose run is meant, also by the name of its machine."""
    target = target_of(arguments)
    if isinstance(target, Path):
        return target
    from growdisk import api

    return api.image_of(target)


def settle_positionals(arguments: argparse.Namespace) -> None:
    """With a machine named, a single word beside it is the SIZE."""
    word = str(arguments.target or "")
    named = bool(arguments.domain or arguments.qmp)
    if named and getattr(arguments, "size", "") is None and word.lstrip("+-")[:1].isdigit():
        arguments.size, arguments.target = word, None


def _request(arguments: argparse.Namespace, path: Path | None) -> LiveRequest:
    from growdisk.api.live_target import LiveRequest

    inside = {name: getattr(arguments, name) for name in _INSIDE if hasattr(arguments, name)}
    return LiveRequest(path, arguments.qmp, arguments.domain, arguments.connect, arguments.disk, **inside)

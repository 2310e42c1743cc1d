"""Which disk is meant: an image file, a machine (perhaps running), or a disk behind an address."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

from growdisk import api
from growdisk.api import live_request
from growdisk.api.live_request import LiveRequest
from growdisk.block.address import NOT_HERE, WHERE_TAKEN, as_written, scheme_of
from growdisk.cli.common_options import group_of
from growdisk.cli.declaring import declare
from growdisk.cli.output import CommandOutput
from growdisk.errors import ImageNotReadable, Refused, UsageError
from growdisk.planner.given_values import GivenValues
from growdisk.planner.option_table import SHARED


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Options that name a machine instead of an image."""
    group = group_of(parser, "a machine instead of an image")
    declare(group, "domain", "-d", default="", metavar="NAME")
    declare(group, "connect", "-c", metavar="URI")
    declare(group, "qmp", metavar="SOCKET")
    declare(group, "disk", default="", metavar="ID")


def add_inside(parser: argparse.ArgumentParser) -> None:
    """Options on how to work inside a running guest."""
    group = group_of(parser, "inside a running guest")
    choices = (*SHARED["online"].choices, "manual")
    declare(group, "online", choices=choices, more="manual: growdisk script says how")
    declare(group, "ssh", default="", metavar="USER@HOST")
    declare(group, "ssh_config", metavar="FILE")
    declare(group, "agent", metavar="SOCKET")
    declare(group, "guest_disk", default="", metavar="/dev/sdX")
    declare(group, "allow_reboot")


def target_of(arguments: argparse.Namespace) -> Path | LiveRequest:
    """A path if nothing speaks of a running guest. UsageError if nothing is named at all."""
    settle_positionals(arguments)
    path: Path | None = arguments.target
    if path is not None and not (arguments.domain or arguments.qmp):
        path = _volume_of_pool(path, arguments.connect) or path
    given = GivenValues({**vars(arguments), "image": path})
    # Nobody types --allow-reboot for a guest that is off; a task may have it for all guests alike.
    target = live_request.target_of(given, running=given.flag("allow_reboot"))
    if isinstance(target, Path):
        _refuse_no_image(target)
    return target


_URL = r"(https?|ftp|s3):/+"
# POOL/VOLUME: exactly one slash. The pool's part begins without a dot, so ./x and ../x are paths.
_POOL_VOLUME = r"[\w+:@-][\w.+:@-]*/[\w+:@-][\w.+:@ -]*"
_MACHINE_NAME = r"[A-Za-z0-9][\w-]*"


def _refuse_no_image(path: Path) -> None:
    """What people write where an image should stand: an address, or the name of a machine."""
    if re.match(_URL, str(path)):
        reason = "it is an address, and growdisk works on files of this host"
        address = re.sub(_URL, r"\1://", str(path), count=1)  # a Path has eaten a slash
        raise ImageNotReadable(
            path, reason, f"download it first: curl -LO {shlex.quote(address)}; then name the file"
        )
    # Addresses that a verb takes are a file by now (served.py): here the verb does not take them.
    if (scheme := scheme_of(str(path))) and not path.exists():
        address = as_written(str(path))
        if scheme in ("nbd", "nbd+unix", "ssh"):
            raise ImageNotReadable(path, NOT_HERE.format(address), WHERE_TAKEN)
        reason = _WHY_ATTACHED.get(
            scheme, f"growdisk does not work on disks behind {scheme}: {_UNKNOWN}"
        )
        hint = _attach_nbd(address) if scheme.startswith("nbd") else _ATTACH.get(scheme, _AT_SERVER)
        raise ImageNotReadable(path, reason, hint)
    if re.fullmatch(_POOL_VOLUME, str(path)) and not path.exists() and not path.parent.exists():
        reason = "there is no such file, and libvirt knows no such volume of an active pool"
        raise ImageNotReadable(
            path, reason, "check the name: virsh pool-list, virsh vol-list POOL; or name the file"
        )
    # The last guess: a plain word may be a file with a slip of the pen, or a machine.
    if re.fullmatch(_MACHINE_NAME, str(path)) and not path.exists():
        reason = "there is no such file"
        raise ImageNotReadable(
            path, reason, f"check the path; if it is a machine of libvirt: -d {path}"
        )


_UNKNOWN = "it could not know who else uses them"
_WHY_ATTACHED = {
    "rbd": (
        "growdisk takes a Ceph image once it is mapped: then it can grow it, and sees the "
        "cluster's other clients"
    ),
    "iscsi": (
        "its target gives it to every host that logs in, and whether another one uses it is "
        "known only there"
    ),
}
_AT_SERVER = "run growdisk where the disk lies, on its file or device"
_ATTACH = {
    "rbd": (
        "map it on this host (rbd map POOL/IMAGE), and name the device: growdisk expand "
        "/dev/rbd/POOL/IMAGE"
    ),
    "iscsi": "see that no other host uses it, log in on this host (iscsiadm --login), and name the "
    "device in /dev/disk/by-path",
}


def _attach_nbd(address: str) -> str:
    return (
        "attach it to this host (qemu-nbd --connect=/dev/nbd0 --format=raw "
        f"{shlex.quote(address)}), then run growdisk expand /dev/nbd0; its server should be a "
        "qemu-nbd, whose lock keeps others out"
    )


def _volume_of_pool(path: Path, uri: str | None) -> Path | None:
    """The file of `pool/volume` in libvirt; None if that is a path, or there is no such volume."""
    # With a folder of that name it is a path to a file that is missing.
    if not re.fullmatch(_POOL_VOLUME, str(path)) or path.exists() or path.parent.exists():
        return None
    pool, volume = path.parts
    try:
        from growdisk.live.libvirt_domain import volume_path

        return volume_path(pool, volume, uri)
    except (Refused, ImportError):  # no libvirt here: then it was a file
        return None


def image_of(arguments: argparse.Namespace) -> Path:
    """The image whose run is meant, also by the name of its machine."""
    target = target_of(arguments)
    if isinstance(target, Path):
        return target
    return api.image_of(target)


def settle_positionals(arguments: argparse.Namespace) -> None:
    """With a machine named, a single word beside it is the SIZE."""
    # Called twice for some verbs: the second time there is no target left to take for a SIZE.
    word = str(arguments.target or "")
    named = bool(arguments.domain or arguments.qmp)
    if named and getattr(arguments, "size", "") is None and word.lstrip("+-")[:1].isdigit():
        arguments.size, arguments.target = word, None


# A disk named by its address (nbd://, nbd+unix://, ssh://) is a file while one command runs.

_LOOKING, _BY_RECORD = frozenset({"show"}), frozenset({"status"})
_WORKING = frozenset({"plan", "expand", "resume", "rollback", "commit"})


def on_address(
    arguments: argparse.Namespace, output: CommandOutput, action: Callable[[], int]
) -> int:
    """Do it, with the file of the disk in place of its address; as it is, if there is none."""
    for word in arguments.words:
        # In a Path https://far/x has become https:/far/x.
        if "://" in word and not Path(word).exists():
            _name(output, str(Path(word)), word)
    verb, target = arguments.parser.prog.split()[-1], getattr(arguments, "target", None)
    # The word as it was written.
    word = next((word for word in arguments.words if Path(word) == target), None)
    # An address that is not the target, or of another verb, is left to the verb.
    if word is None or verb not in _LOOKING | _BY_RECORD | _WORKING:
        return action()
    from growdisk.api.served_disks import served, served_path

    path = served_path(word)
    if path is None:
        return action()
    if getattr(arguments, "as_playbook", False):
        raise UsageError("a playbook has no disks behind addresses", hint="leave --as-playbook out")
    if arguments.domain or arguments.qmp:
        raise UsageError("an address and a machine exclude each other", "name the one or the other")
    _name(output, str(path), shlex.quote(word), word)
    arguments.target = path
    # The run is recorded on this host: the server need not be reached.
    if verb in _BY_RECORD:
        return action()
    with served(word, getattr(arguments, "format", None), writable=verb in _WORKING):
        # -f said what the file is on its own host; the disk in it is raw.
        if hasattr(arguments, "format"):
            arguments.format = "raw"
        return action()


def _name(output: CommandOutput, path: str, name: str, word: str = "") -> None:
    """Let the output call `path` so; in JSON `word`, if it is another."""
    output.names[path] = name
    # In a JSON document both stand inside a string, without its quotes.
    output.json_names[json.dumps(path)[1:-1]] = json.dumps(word or name)[1:-1]

"""Which disk is meant: a file of this host, or that of a guest which may be running."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from growdisk.fast_dataclass import dataclass
from growdisk.planner.given_values import GivenValues
from growdisk.planner.option_table import INSIDE

Way = Literal["auto", "agent", "ssh", "manual"]


@dataclass(frozen=True)
class LiveRequest:
    """What the user said of a guest that may be running.

    `path`: its image, if that was named. `online`: the way into it.
    """

    path: Path | None = None
    qmp: Path | None = None
    domain: str = ""
    uri: str | None = None
    disk: str = ""
    online: Way = "auto"
    agent: Path | None = None
    ssh: str = ""
    ssh_config: Path | None = None
    guest_disk: str = ""
    allow_reboot: bool = False


def target_of(given: GivenValues, *, running: bool = False) -> Path | LiveRequest:
    """A path if nothing speaks of a running guest (`running`: the caller does).

    UsageError if no disk is named, or two are.
    """
    path, qmp, domain = given.path("image"), given.path("qmp"), given.word("domain")
    written = given.written
    if path is None and qmp is None and not domain:
        machine = f"{written('domain', 'NAME')} or {written('qmp', 'SOCKET')}"
        raise given.error("no disk is named", f"name an image, or a machine with {machine}")
    if domain and qmp is not None:
        words = {"domain": written("domain"), "qmp": written("qmp")}
        raise given.conflict(words, "libvirt keeps the monitor of its machines to itself")
    # Who says how to work inside means a running guest, also if an image names the disk.
    # allow_reboot allows something, and says nothing of how the guest stands.
    inside = any(given.is_said(option.name) for option in INSIDE if option.type != "bool")
    if path is not None and not (domain or qmp or inside or running):
        return path
    return LiveRequest(
        path,
        qmp,
        domain,
        given.text("connect"),
        given.word("disk"),
        online=cast("Way", given.word("online")),
        agent=given.path("agent"),
        ssh=given.word("ssh"),
        ssh_config=given.path("ssh_config"),
        guest_disk=given.word("guest_disk"),
        allow_reboot=given.flag("allow_reboot"),
    )

"""Asks a running guest's own blkid what it sees on its devices: the second opinion in use.

The answer is the guest's word, as is all that growdisk knows of a running one. Nothing of it
reaches a command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from growdisk.fast_dataclass import dataclass
from growdisk.host.blkid import BlkidResult, CannotAsk, verdicts_in
from growdisk.live.guest_shell import GuestShell

_SECONDS = 120.0
_UNKNOWN = 3
# Another blkid (BusyBox has one) knows no low-level probing.
_KNOWN = f"blkid -V 2>&1 | grep -q util-linux || exit {_UNKNOWN}\n"
_ASK = """\
echo "= {name}"; status=0
[ -r {device} ] || status=1 # to blkid a device that is not there is one with nothing on it
[ $status != 0 ] || blkid -p -o udev{range} {device} 2>/dev/null || status=$?
echo "= $status"
"""


@dataclass(frozen=True)
class GuestPlace:
    """Bytes [start, start+size) of a device of the guest; all of it without a size."""

    device: str
    start: int = 0
    size: int = 0


def ask_guest(
    shell: GuestShell, places: Mapping[str, GuestPlace]
) -> dict[str, BlkidResult] | CannotAsk:
    """What the guest's blkid finds at each of `places` (plain names), or why it cannot be asked.

    GuestLost.
    """
    questions = (_question(name, place) for name, place in places.items())
    answer = shell.run(_KNOWN + "".join(questions), _SECONDS)
    # Other failures are told in the answer, place by place.
    if answer.status == _UNKNOWN:
        return CannotAsk("the guest has none of util-linux")
    results = verdicts_in(answer.stdout.decode(errors="replace"))
    return {name: results.get(name, BlkidResult(failed=True)) for name in places}


def _question(name: str, place: GuestPlace) -> str:
    part = f" -O {place.start} -S {place.size}" if place.size else ""
    return _ASK.format(name=name, range=part, device=shlex.quote(place.device))

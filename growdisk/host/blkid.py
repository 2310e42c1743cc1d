"""Asks blkid what it sees on parts of a guest's disk: the second opinion beside our readers.

Its low-level probe runs confined, once for all parts, on files that FUSE shows it. It names the
arrays, pools and file systems of 25 years, and reports if it finds two at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from growdisk.block.device import BlockDevice
from growdisk.errors import GrowdiskError, ToolMissing, ToolTimedOut
from growdisk.fast_dataclass import dataclass
from growdisk.host.fuse_mount import mounted
from growdisk.host.sandbox import FOLDER, run_confined

TOOL = "blkid"
_NOTHING, _AMBIVALENT = 2, 8  # blkid's exit statuses
# "pmbr" is a protective MBR alone, without the GPT that it protects; "atari" has no magic at all.
_GUESSED = ("atari", "pmbr")
_SECONDS, _WORK = 60.0, 20
# Some look at once. What is said of each file comes in one piece, between two lines that name it.
# The udev format says what it finds where that is more than one thing.
_ASK = f"""
look() {{
    status=0
    found=$(blkid -p -o udev {FOLDER}/"$1") || status=$?
    echo "= $1
$found
= $status"
}}
at_once=0
for name do
    look "$name" &
    at_once=$(((at_once + 1) % 4))
    [ $at_once != 0 ] || wait
done
wait
"""
_PAIR = re.compile(r"(?P<name>[A-Z_]+)=(?P<value>.*)")


@dataclass(frozen=True)
class BlkidResult:
    """What blkid found: `kind` and `usage` ("filesystem", "raid", "crypto", "other"), or "".

    A partition table where no file system is counts as a kind ("gpt_table"). `candidates` are there
    if it finds several at once; `failed`: it did not end normally.
    """

    kind: str = ""
    usage: str = ""
    candidates: tuple[str, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class CannotAsk:
    reason: str


def probe_devices(
    devices: Mapping[str, BlockDevice], meanwhile: Callable[[], None] | None = None
) -> dict[str, BlkidResult] | CannotAsk:
    """What blkid finds on each, or why it cannot be asked; `meanwhile` must leave them alone."""
    try:
        with mounted(devices) as (place, folder):
            done = run_confined(
                ["sh", "-c", _ASK, TOOL, *devices],
                place,
                name=FOLDER,
                seconds=_SECONDS,
                work=_WORK,
                meanwhile=meanwhile,
            )
            if folder.failure is not None:
                raise folder.failure
    except ToolTimedOut:
        # Which of them it hung on is not known: none of them has a verdict.
        return {name: BlkidResult(failed=True) for name in devices}
    except (ToolMissing, GrowdiskError, OSError) as error:
        return CannotAsk(getattr(error, "why", "") or str(error))
    # One that is missing there did not end in order.
    results = verdicts_in(done.stdout)
    return {name: results.get(name, BlkidResult(failed=True)) for name in devices}


def verdicts_in(text: str) -> dict[str, BlkidResult]:
    """Each name with blkid's verdict, of answers in udev format between lines with "= "."""
    return dict(_read(text))


def _read(text: str) -> Iterator[tuple[str, BlkidResult]]:
    name, pairs = "", dict[str, str]()
    for line in text.splitlines():
        # The first such line names a file, the next one closes it with blkid's status.
        if line.startswith("= ") and not name:
            name = line[2:]
        elif line.startswith("= "):
            yield name, _verdict(pairs, line[2:])
            name, pairs = "", {}
        elif match := _PAIR.fullmatch(line):
            pairs[match["name"]] = match["value"]


def _verdict(pairs: Mapping[str, str], status: str) -> BlkidResult:
    several = pairs.get("ID_FS_AMBIVALENT", "")
    # ID_FS_AMBIVALENT="filesystem:ext4:1.0 other:swap:1": usage, kind and version of each.
    if several or status == str(_AMBIVALENT):
        return BlkidResult(
            candidates=tuple(word.split(":")[1] for word in several.split() if ":" in word)
            or ("several",)
        )
    if status not in ("0", str(_NOTHING)):
        return BlkidResult(failed=True)
    return BlkidResult(pairs.get("ID_FS_TYPE", "") or _table(pairs), pairs.get("ID_FS_USAGE", ""))


def _table(pairs: Mapping[str, str]) -> str:
    """A partition table, if there is no file system; blkid's mere guesses are left out."""
    kind = pairs.get("ID_PART_TABLE_TYPE", "").lower()
    return f"{kind}_table" if kind and kind not in _GUESSED else ""

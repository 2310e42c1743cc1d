"""Asks blkid what it sees on parts of a guest's disk: the second opinion beside our readers.

Its low-level probe runs confined like every host tool that reads a guest's bytes, once for all
parts, on files that FUSE shows it. It names the arrays, pools and file systems of 25 years, and
reports if it finds two at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import copy_context
from threading import Event, Thread

from growdisk.block.device import BlockDevice
from growdisk.errors import GrowdiskError, ToolMissing, ToolTimedOut
from growdisk.fast_dataclass import dataclass
from growdisk.host.command import kill_all
from growdisk.host.fuse_mount import mounted
from growdisk.host.sandbox import FOLDER, run_confined

TOOL = "blkid"
_NOTHING, _AMBIVALENT = 2, 8  # blkid's exit statuses
# "pmbr" is a protective MBR alone, without the GPT that it protects; "atari" has no magic at all.
_GUESSED = ("atari", "pmbr")
_SECONDS, _WORK = 60.0, 20
_POLL_SECONDS = 0.1
# Reads names, and looks at some at once. What is said of each file comes in one piece, between two
# lines that name it. The udev format says what it finds where that is more than one thing.
_ASK = f"""
look() {{
    status=0
    found=$(blkid -p -o udev {FOLDER}/"$1") || status=$?
    echo "= $1
$found
= $status"
}}
at_once=0
while read -r name; do
    look "$name" &
    at_once=$(((at_once + 1) % 4))
    [ $at_once != 0 ] || wait
done
wait
"""
_PAIR = r"(?P<name>[A-Z_]+)=(?P<value>.*)"


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


class Blkid:
    """blkid behind its walls, which waits for what it is to look at, once.

    To put up the walls takes longer than to look, so it begins before the plan is made.
    """

    def __init__(self) -> None:
        self._devices: Mapping[str, BlockDevice] = {}
        self._asked = Event()
        self._answer: dict[str, BlkidResult] | CannotAsk | Exception = {}
        self._walls = ""  # in the sandbox's command line, and in no other
        # Its context says who unmounts the folder: see fuse_mount.unmounting_beside().
        self._thread = Thread(target=copy_context().run, args=(self._work,), daemon=True)
        self._thread.start()

    def ask(self, devices: Mapping[str, BlockDevice]) -> None:
        """Let it look at `devices`, which nobody else may read until it has answered."""
        self._devices = devices
        self._asked.set()

    def answer(self) -> dict[str, BlkidResult] | CannotAsk:
        """What it found on each of the devices, or why this machine cannot ask it."""
        self._thread.join()
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def close(self) -> None:
        """End it, also while it looks."""
        looks = self._asked.is_set()
        self._asked.set()
        while self._thread.is_alive():
            # The walls may not stand yet; without a question it ends by itself.
            if looks and self._walls:
                kill_all(self._walls)
            self._thread.join(_POLL_SECONDS)

    def _work(self) -> None:
        try:
            with mounted({}) as (place, folder):
                self._walls = f"{place} {FOLDER}"

                def names() -> str:
                    self._asked.wait()
                    folder.show(self._devices)
                    return "".join(f"{name}\n" for name in self._devices)

                done = run_confined(
                    ["sh", "-c", _ASK],
                    place,
                    name=FOLDER,
                    seconds=_SECONDS,
                    work=_WORK,
                    input=names,
                )
                if folder.failure is not None:
                    raise folder.failure
        except ToolTimedOut:
            # Which of them it hung on is not known: none of them has a verdict.
            self._answer = {name: BlkidResult(failed=True) for name in self._devices}
        except (ToolMissing, GrowdiskError, OSError) as error:
            self._answer = CannotAsk(getattr(error, "why", "") or str(error))
        except Exception as error:  # a bug must reach the main thread, not die with this one
            self._answer = error
        else:
            # One that is missing there did not end in order.
            results = verdicts_in(done.stdout)
            self._answer = {
                name: results.get(name, BlkidResult(failed=True)) for name in self._devices
            }


def verdicts_in(text: str) -> dict[str, BlkidResult]:
    """Each name with blkid's verdict.

    Its answers are in udev format, between lines that begin with "= ".
    """
    verdicts: dict[str, BlkidResult] = {}
    name, pairs = "", dict[str, str]()
    for line in text.splitlines():
        # The first such line names a file, the next one closes it with blkid's status.
        if line.startswith("= ") and not name:
            name = line[2:]
        elif line.startswith("= "):
            verdicts[name] = _verdict(pairs, line[2:])
            name, pairs = "", {}
        elif match := re.fullmatch(_PAIR, line):
            pairs[match["name"]] = match["value"]
    return verdicts


def _verdict(pairs: Mapping[str, str], status: str) -> BlkidResult:
    several = pairs.get("ID_FS_AMBIVALENT", "")
    # ID_FS_AMBIVALENT="filesystem:ext4:1.0 other:swap:1": usage, kind and version of each.
    if several or status == str(_AMBIVALENT):
        kinds = tuple(word.split(":")[1] for word in several.split() if ":" in word)
        return BlkidResult(candidates=kinds or ("several",))
    if status not in ("0", str(_NOTHING)):
        return BlkidResult(failed=True)
    return BlkidResult(pairs.get("ID_FS_TYPE", "") or _table(pairs), pairs.get("ID_FS_USAGE", ""))


def _table(pairs: Mapping[str, str]) -> str:
    """A partition table, if there is no file system; blkid's mere guesses are left out."""
    kind = pairs.get("ID_PART_TABLE_TYPE", "").lower()
    return f"{kind}_table" if kind and kind not in _GUESSED else ""

"""The tables /etc/fstab and /etc/crypttab after a partition is gone.

Every byte that does not concern that partition stays as it was. A stale swap line costs each boot
90 s: systemd waits for the device, and much else waits for swap.target. A stale line of anything
else ends the boot in an emergency shell. What a line of crypttab makes has another name, which is
gone too:

    sda5_crypt  /dev/sda5  /dev/urandom  cipher=aes-xts-plain64,size=256,swap

Specs: fstab(5), crypttab(5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from growdisk.fast_dataclass import dataclass
from growdisk.guest_config.files import change_lines
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy, without_escapes

FSTAB, SWAP_FILE = "/etc/fstab", "/swapfile"
_LINE = (
    r"(?P<indent>[ \t]*)(?P<source>[^#\s]\S*)[ \t]+(?P<mount_point>\S+)[ \t]+(?P<kind>\S+)(?:[ "
    r"\t]+(?P<options>\S+))?"
)
_NO_MOUNT_POINT = frozenset({"none", "swap"})
_REMOVED = "# removed by growdisk: "


@dataclass(frozen=True)
class Entry:
    """One line of fstab, as written."""

    source: str
    mount_point: str
    kind: str
    options: str = ""

    @property
    def subvolume(self) -> str | None:
        """btrfs's subvol=, without its first slash; None if there is none."""
        path = self._option("subvol")
        return None if path is None else path.strip("/")

    @property
    def subvolume_number(self) -> int | None:
        """btrfs's subvolid=."""
        number = self._option("subvolid")
        return int(number) if number and number.isdecimal() else None

    def _option(self, name: str) -> str | None:
        """The value of the last such option."""
        options = [option.partition("=") for option in self.options.split(",")]
        return next((value for own, sign, value in reversed(options) if own == name and sign), None)

    @property
    def plain_source(self) -> str:
        """The source without quotes: LABEL="x" is LABEL=x."""
        return self.source.replace('"', "").replace("'", "")

    def is_swap(self) -> bool:
        return self.kind == "swap" or self.mount_point in _NO_MOUNT_POINT

    def fits(self, part: RemovedPartition) -> bool:
        """Whether it may be the partition's, by its kind: swap has swap lines alone."""
        return self.is_swap() or not part.is_swap

    def is_of(self, part: RemovedPartition) -> bool:
        return self.fits(part) and part.is_named_by(self.source)


def parse_fstab(text: str) -> Iterator[Entry]:
    """The lines that mount something or swap."""
    for line in text.split("\n"):
        if match := re.match(_LINE, line):
            yield Entry(
                match["source"], match["mount_point"], match["kind"], match["options"] or ""
            )


def swap_files(entries: Iterable[Entry]) -> Iterator[str]:
    """Paths of the files that are swapped on."""
    for entry in entries:
        path = without_escapes(entry.plain_source)
        if entry.is_swap() and path.startswith("/") and not path.startswith("/dev/"):
            yield path


def without_swap(text: str, gone: RemovedPartition, policy: SwapRemedy) -> str:
    """fstab with the lines of `gone` made comments; with policy FILE, its first has /swapfile.

    Also changed are lines of what was in it: /data/srv /srv none bind, or layers of an overlay.
    """
    # First what is mounted where, then what goes with the partition: its mount points, and later
    # what is bound out of them. Root is never one of these.
    places = [entry.mount_point for entry in parse_fstab(text) if entry.mount_point.startswith("/")]
    lost = {
        entry.mount_point
        for entry in parse_fstab(text)
        if not gone.is_swap and gone.is_named_by(entry.source)
    }
    lost.discard("/")
    # Only one line becomes the swap file's, however many named the partition.
    file_wanted = policy is SwapRemedy.FILE and not any(
        entry.source == SWAP_FILE for entry in parse_fstab(text)
    )

    def change(line: str) -> str:
        nonlocal file_wanted
        # Lines come in the order of mounting: a bind of a bind finds its place gone already.
        inside = [
            entry for entry in parse_fstab(line) if lost.intersection(_mounts_of(entry, places))
        ]
        lost.update(entry.mount_point for entry in inside)
        if not inside and not any(entry.is_of(gone) for entry in parse_fstab(line)):
            return line
        if file_wanted:
            file_wanted = False
            return _with_source(line, SWAP_FILE)
        return _REMOVED + line

    return change_lines(text, change)


def with_swap_file(text: str) -> str:
    """fstab with a line for the swap file, unless it replaced one: the swap was named elsewhere."""
    if any(entry.source == SWAP_FILE for entry in parse_fstab(text)):
        return text
    return (
        text + ("" if text.endswith("\n") or not text else "\n") + f"{SWAP_FILE} none swap sw 0 0\n"
    )


def _mounts_of(entry: Entry, places: Collection[str]) -> Iterator[str]:
    """Of these mounts those in which the source, or a layer of it, lies as a file or folder."""
    paths = [entry.plain_source]
    if entry.kind == "overlay":
        # lowerdir=/data/a:/data/b,upperdir=/data/c,…
        values = (option.partition("=")[2] for option in entry.options.split(","))
        paths += [path for value in values for path in value.split(":")]
    for path in map(without_escapes, paths):
        if path.startswith("/") and not path.startswith("/dev/"):
            above = (
                p for p in places if f"{path}/".startswith(f"{without_escapes(p).rstrip('/')}/")
            )
            yield from sorted(above, key=len)[-1:]


def _with_source(line: str, source: str) -> str:
    match = re.match(_LINE, line)
    assert match is not None, line
    return match["indent"] + source + line[match.end("source") :]


# --- crypttab -----------------------------------------------------------------------------------

_CONTAINER = (
    r"[ \t]*(?P<name>[^#\s]\S*)[ \t]+(?P<source>\S+)"
    r"(?:[ \t]+(?P<key>\S+)[ \t]+(?P<options>\S+))?"
)
_RANDOM = frozenset({"/dev/urandom", "/dev/random", "/dev/hwrng"})


def _container(line: str, part: RemovedPartition) -> re.Match[str] | None:
    """The line, if it opens a container in `part`."""
    match = re.match(_CONTAINER, line)
    return match if match and part.is_named_by(match["source"]) else None


def nodes_made_of(text: str, gone: RemovedPartition) -> Iterator[str]:
    """The device nodes that stand for the opened container: /dev/mapper/NAME."""
    for line in text.split("\n"):
        if match := _container(line, gone):
            yield f"/dev/mapper/{match['name']}"


def is_random_swap(text: str, part: RemovedPartition) -> bool:
    """Whether it makes swap of `part` at each start, with a key that nobody knows."""
    lines = (match for line in text.split("\n") if (match := _container(line, part)))
    own = [match for match in lines if match["options"]]
    # All of its lines: one with a key that is kept would be somebody's data.
    return bool(own) and all(m["key"] in _RANDOM and "swap" in m["options"].split(",") for m in own)


def without_container(text: str, gone: RemovedPartition) -> str:
    return change_lines(text, lambda line: _REMOVED + line if _container(line, gone) else line)

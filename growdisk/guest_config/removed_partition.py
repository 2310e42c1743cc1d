"""The partition that goes away, swap mostly, and all the ways in which a guest's files may name it.

A kernel name such as /dev/sda5 is taken as the guest's first disk, whatever driver it had (sda,
vda, xvda, nvme0n1): the guest may have been written under another controller than it runs on now.
/dev/sdb5 is another disk, unless the guest has its root on /dev/sdb. Specs: fstab(5), udev's
60-persistent-storage.rules.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from enum import Enum

from growdisk.fast_dataclass import dataclass, replace

_FIRST_DISKS = ("sda", "vda", "xvda", "hda", "nvme0n1p", "mmcblk0p")
_GRUBS_DISK, _MAPPER = "hd0", "/dev/mapper/"
_NAMED_DIRECTORIES = {
    "by-uuid": "UUID",
    "by-label": "LABEL",
    "by-partuuid": "PARTUUID",
    "by-partlabel": "PARTLABEL",
}
_HEX_TAGS = frozenset({"UUID", "PARTUUID"})
_FSTAB_ESCAPE = r"\\([0-7]{3})"
_UDEV_ESCAPE = r"\\x([0-9a-fA-F]{2})"


# by-id, by-path, by-diskseq, azure, …: whatever folder names no content of the partition.
_OF_SOME_DISK = r"/dev/disk/(?P<stem>(?!by-(?:part)?(?:uuid|label)/)[^/]+/.+)-part(?P<number>\d+)"
# The same names once more, below that of the disk: …-part/by-partnum/5, …-part/by-uuid/…
_BELOW_DISK = r"/dev/disk/(?P<disk>by-path/.+-part)/(?P<name>by-[a-z]+/.+)"
_NUMBER = "by-partnum/"
# udev's other names of what device mapper has as /dev/mapper/NAME; a disk with several paths has
# …-part5.
_MAPPED_LINK = (
    r"/dev/disk/by-id/dm-(?:name|uuid-CRYPT-(?:PLAIN|LUKS\d-[0-9a-f]{32}))-"
    r"(?P<name>.+)(?<!-part\d)(?<!-part\d\d)"
)
# kpartx's partitions of what device mapper has: mostly a disk with several paths.
_OF_MAPPED_DISK = r"/dev/mapper/(.+-part\d+)"
_MAPPED_DISK = "by-id/dm-name-"
_OF_KERNEL = r"/dev/(?P<disk>(?:sd|vd|xvd|hd|dasd|ubd)[a-z]+|(?:nvme\d+n|mmcblk|nbd|pmem)\d+p)\d+"
# What udev writes as \xNN in a link's name: ASCII but for letters, digits and these few.
_SPECIAL = r"(?![\w#+\-.:=@])[\x00-\x7f]"
_SPECIAL_IN_FSTAB = r"[\s\\#]"
_SPECIAL_IN_UNIT = rb"(?a)[^\w:./]"
_PLAIN = r"[A-Za-z0-9]+"
_DISTINCT = 8  # characters of a UUID that stand in no file by chance


class SwapRemedy(Enum):
    """What the guest has instead of swap that is gone: nothing, or a file in its root."""

    DROP = "drop"
    FILE = "file"


@dataclass(frozen=True)
class RemovedPartition:
    """By what a partition can be named. Only `number`, the partition's, is always there.

    `mapped` are device nodes of what lies in it: /dev/mapper/sda5_crypt, /dev/vg0/swap. `stems` are
    names that udev gives this very disk, by-id/ata-QEMU_HARDDISK_QM00001, and the kernel's where it
    is not the first one: sdb, nvme1n1p. `is_swap` False: something else, given up with consent.
    """

    number: int
    uuid: str | None = None
    label: str | None = None
    partuuid: str | None = None
    partlabel: str | None = None
    mapped: tuple[str, ...] = ()
    stems: tuple[str, ...] = ()
    is_swap: bool = True

    def is_named_by(self, source: str) -> bool:
        """Whether `source`, as written in fstab, RESUME= or resume=, is this partition."""
        path = _as_path(source)
        if not path.startswith("/"):
            tag, _, value = _without_quotes(source).partition("=")
            return self._has_tag(tag, without_escapes(_without_quotes(value)))
        # A container or volume that lies in the partition goes with it.
        if path in map(_as_path, self.mapped):
            return True
        if match := re.fullmatch(r"/dev/disk/([^/]+)/(.+)", path):
            return self._has_link(match[1], match[2])
        return path in self._kernel_names()

    def on_disk_of(self, sources: Iterable[str]) -> RemovedPartition:
        """The partition with the names it has in a guest whose root, or /boot, is on `sources`.

        These are on the same disk.
        """
        paths = [_as_path(source) for source in sources]
        stems = [match["stem"] for path in paths if (match := re.fullmatch(_OF_SOME_DISK, path))]
        disks = [match["disk"] for path in paths if (match := re.fullmatch(_OF_KERNEL, path))]
        # With its root on the first disk, sda5 and its like are meant already. Else the disk's own
        # name is the only one.
        if set(disks).isdisjoint(_FIRST_DISKS):
            stems += disks
        return replace(self, stems=tuple(dict.fromkeys((*self.stems, *stems))))

    def shell_patterns(self) -> list[str]:
        """The same as patterns of a shell's `case`."""
        patterns = [shlex.quote(name) for name in (*self._kernel_names(), *self.mapped)]
        for tag, directory, value, spellings in self.tagged():
            patterns += [shlex.quote(f"{tag}={spelling}") for spelling in sorted(spellings)]
            patterns += [
                shlex.quote(f"/dev/disk/{directory}/{spelling}")
                for spelling in sorted({*spellings, for_udev(value)})
            ]
        return [*patterns, *map(shlex.quote, self._link_names())]

    def needles(self) -> tuple[bytes, ...]:
        """What to search for, to find every file that may name it, and few others."""
        names = {f"/dev/{disk}{self.number}" for disk in self._disks} | set(self.mapped)
        opened = [node.removeprefix(_MAPPER) for node in self.mapped if node.startswith(_MAPPER)]
        names |= {f"/dev/disk/by-id/dm-name-{name}" for name in opened}
        names |= {name.removeprefix("/dev/disk/") for name in self._link_names()}
        names |= {f"{_GRUBS_DISK},{label}{self.number}" for label in ("msdos", "gpt")}
        for tag, directory, value, spellings in self.tagged():
            # A UUID stands in no file by chance: searched for as it is. A label ("swap") may, so
            # that it only counts in a link or after its tag, in each way of writing it.
            if tag in _HEX_TAGS and len(value) >= _DISTINCT:
                names |= spellings
                continue
            names |= {f"{directory}/{value}", f"{directory}/{for_udev(value)}"}
            written = (value, f'"{value}"', for_fstab(value), for_udev(value))
            names |= {f"{tag}={one}" for one in written}
        names |= {f"systemd-cryptsetup@{_for_systemd(name)}.service" for name in opened}
        # All paths once more as systemd names its units: dev-sda5.
        no_path = (_GRUBS_DISK, "systemd-", *(f"{tag}=" for tag in _NAMED_DIRECTORIES.values()))
        names |= {_for_systemd(name) for name in names if not name.startswith(no_path)}
        return tuple(sorted(name.encode("utf-8", "surrogateescape") for name in names))

    def hints(self) -> tuple[bytes, ...]:
        """Parts of all its names, in small letters: a file without any of them does not name it."""
        values = [value for value in self._tags().values() if value]
        values += [node.rpartition("/")[2] for node in self.mapped]
        # A name in other letters has no such run: then what goes before all names of that kind.
        runs = [max(re.findall(_PLAIN, value), key=len, default="label") for value in values]
        found = dict.fromkeys(
            (*runs, *(f"{name}{self.number}" for name in (*self._disks, "part", "partnum/")))
        )
        return tuple(hint.lower().encode("utf-8", "surrogateescape") for hint in found if hint)

    def may_be_named_by(self, source: str) -> bool:
        """Whether `source` is partition `number` of some disk, maybe this: only udev could tell."""
        match = re.fullmatch(_OF_SOME_DISK, _as_path(source))
        return (
            match is not None
            and int(match["number"]) == self.number
            and not self.is_named_by(source)
        )

    @property
    def _disks(self) -> tuple[str, ...]:
        # A stem with a slash is a link below /dev/disk, one without is a kernel's name of the disk.
        return tuple(stem for stem in self.stems if "/" not in stem) or _FIRST_DISKS

    @property
    def _links(self) -> list[str]:
        return [stem for stem in self.stems if "/" in stem]

    def _link_names(self) -> Iterator[str]:
        for stem in self._links:
            yield from (f"/dev/disk/{stem}-part{way}{self.number}" for way in ("", f"/{_NUMBER}"))
            if stem.startswith(_MAPPED_DISK):
                yield f"{_MAPPER}{stem.removeprefix(_MAPPED_DISK)}-part{self.number}"

    def _tags(self) -> dict[str, str | None]:
        return {
            "UUID": self.uuid,
            "LABEL": self.label,
            "PARTUUID": self.partuuid,
            "PARTLABEL": self.partlabel,
        }

    def tagged(self) -> Iterator[tuple[str, str, str, set[str]]]:
        """(tag, udev's folder of links by it, value, what counts as the same value) of each."""
        for directory, tag in _NAMED_DIRECTORIES.items():
            if value := self._tags()[tag]:
                same = {value, value.lower(), value.upper()} if tag in _HEX_TAGS else {value}
                yield tag, directory, value, same

    def _kernel_names(self) -> Iterator[str]:
        return (f"/dev/{disk}{self.number}" for disk in self._disks)

    def _has_tag(self, tag: str, value: str) -> bool:
        own = self._tags().get(tag)
        if own is None:
            return False
        if tag in _HEX_TAGS:
            return own.lower() == value.lower()
        return value in (own, for_udev(own))  # dracut takes LABEL=my\x20swap

    def _has_link(self, directory: str, name: str) -> bool:
        if directory in _NAMED_DIRECTORIES:
            value = re.sub(_UDEV_ESCAPE, lambda match: chr(int(match[1], 16)), name)
            return self._has_tag(_NAMED_DIRECTORIES[directory], value)
        return any(f"{directory}/{name}" == f"{stem}-part{self.number}" for stem in self._links)


def without_escapes(text: str) -> str:
    """What fstab writes as \\040 is a blank."""
    return re.sub(_FSTAB_ESCAPE, lambda match: chr(int(match[1], 8)), text)


def _as_path(source: str) -> str:
    """A device's name as a path, if it is one, in the spelling that its kind has here.

    ID=ata-… is /dev/disk/by-id/ata-…, /dev/mapper/mpatha-part5 is
    /dev/disk/by-id/dm-name-mpatha-part5, and by-path/…-part/by-partnum/5 is by-path/…-part5.
    """
    source = _without_quotes(source)
    if source.startswith("ID="):
        source = f"/dev/disk/by-id/{_without_quotes(source[3:])}"
    source = without_escapes(source)
    if match := re.fullmatch(_BELOW_DISK, source):
        number = match["name"].removeprefix(_NUMBER)
        name = match["name"] if number == match["name"] else match["disk"] + number
        source = f"/dev/disk/{name}"
    if match := re.fullmatch(_OF_MAPPED_DISK, source):
        return f"/dev/disk/{_MAPPED_DISK}{match[1]}"
    return f"{_MAPPER}{match['name']}" if (match := re.fullmatch(_MAPPED_LINK, source)) else source


def _without_quotes(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def for_fstab(value: str) -> str:
    """As fstab writes it: a blank as \\040."""
    return re.sub(_SPECIAL_IN_FSTAB, lambda match: f"\\{ord(match[0]):03o}", value)


def for_udev(value: str) -> str:
    """As it is in /dev/disk/by-label."""
    return re.sub(_SPECIAL, lambda match: f"\\x{ord(match[0]):02x}", value)


def _for_systemd(name: str) -> str:
    """As it is in the name of a unit: dev-disk-by\\x2duuid-…"""
    written = name.removeprefix("/").encode("utf-8", "surrogateescape")
    escaped = re.sub(_SPECIAL_IN_UNIT, lambda match: b"\\x%02x" % ord(match[0]), written)
    return escaped.decode().replace("/", "-")

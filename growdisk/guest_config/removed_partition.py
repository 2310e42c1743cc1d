"""The partition that goes away, swap mostly, and all the ways in which a guest's files may name it.

A kernel name such as /dev/sda5 is taken as the guest's first disk, whatever driver it had (sda, vda, xvda, nvme0n1):
the guest may have been written under another controller than it runs on now. /dev/sdb5 is another disk.
Specs: fstab(5), udev's 60-persistent-storage.rules.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from enum import Enum

from growdisk.fast_dataclass import dataclass, field

_FIRST_DISKS = ("sda", "vda", "xvda", "hda", "nvme0n1p", "mmcblk0p")
_GRUBS_DISK = "hd0"
_NAMED_DIRECTORIES = {
    "by-uuid": "UUID", "by-label": "LABEL", "by-partuuid": "PARTUUID", "by-partlabel": "PARTLABEL",
}  # fmt: skip
_HEX_TAGS = frozenset({"UUID", "PARTUUID"})
_FSTAB_ESCAPE = re.compile(r"\\([0-7]{3})")
_UDEV_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


_OF_SOME_DISK = re.compile(r"/dev/disk/(?P<stem>by-(?:id|path)/.+)-part(?P<number>\d+)")
_PLAIN = re.compile(r"[a-z0-9]+")
_DISTINCT = 8  # characters of a UUID that stand in no file by chance


def stem_of(source: str) -> str | None:
    """by-id/ata-… of a partition's name /dev/disk/by-id/ata-…-part1."""
    match = _OF_SOME_DISK.fullmatch(_without_quotes(source))
    return match["stem"] if match else None


class SwapPolicy(Enum):
    """What becomes of the swap space: gone, or a file in the root file system."""

    DROP = "drop"
    FILE = "file"


@dataclass(frozen=True)
class RemovedPartition:
    """By what a partition can be named. Only `number`, the partition's, is always there.

    `mapped` are device nodes of what lies in it: /dev/mapper/sda5_crypt, /dev/vg0/swap. `stems` are names that udev
    gives this very disk: by-id/ata-QEMU_HARDDISK_QM00001. `is_swap` False: something else, given up with consent.
    """

    number: int
    uuid: str | None = None
    label: str | None = None
    partuuid: str | None = None
    partlabel: str | None = None
    mapped: tuple[str, ...] = field(default=(), kw_only=True)
    stems: tuple[str, ...] = field(default=(), kw_only=True)
    is_swap: bool = field(default=True, kw_only=True)

    def is_named_by(self, source: str) -> bool:
        """Whether `source`, as written in fstab, RESUME= or resume=, is this partition."""
        source = _without_quotes(source)
        tag, equals, value = source.partition("=")
        if equals:
            return self._has_tag(tag, _FSTAB_ESCAPE.sub(_from_octal, _without_quotes(value)))
        if match := re.fullmatch(r"/dev/disk/(by-\w+)/(.+)", source):
            return self._has_link(match[1], match[2])
        return source in self._kernel_names() or source in self.mapped

    def shell_patterns(self) -> list[str]:
        """The same as patterns of a shell's `case`."""
        patterns = [shlex.quote(name) for name in (*self._kernel_names(), *self.mapped)]
        for directory, tag in _NAMED_DIRECTORIES.items():
            if value := self._tags()[tag]:
                spellings = {value, value.lower(), value.upper()} if tag in _HEX_TAGS else {value}
                patterns += [shlex.quote(f"{tag}={spelling}") for spelling in sorted(spellings)]
                patterns += [shlex.quote(f"/dev/disk/{directory}/{spelling}") for spelling in sorted(spellings)]
        return [*patterns, *(shlex.quote(f"/dev/disk/{stem}-part{self.number}") for stem in self.stems)]

    def needles(self) -> tuple[bytes, ...]:
        """What to search for, to find every file that may name it, and few others."""
        names = {f"/dev/{disk}{self.number}" for disk in _FIRST_DISKS} | set(self.mapped)
        names |= {f"{stem}-part{self.number}" for stem in self.stems}
        names |= {f"{_GRUBS_DISK},{label}{self.number}" for label in ("msdos", "gpt")}
        for directory, tag in _NAMED_DIRECTORIES.items():
            if value := self._tags()[tag]:
                distinct = tag in _HEX_TAGS and len(value) >= _DISTINCT
                plain = {value, value.lower(), value.upper()} if distinct else set()
                names |= plain or {f"{tag}={value}", f"{tag}={_octal(value)}", f"{directory}/{value}"}
        return tuple(sorted(name.encode("utf-8", "surrogateescape") for name in names))

    def hints(self) -> tuple[bytes, ...]:
        """Parts of all its names, in small letters: a file without any of them does not name it."""
        values = [value for value in self._tags().values() if value]
        runs = [max(_PLAIN.findall(value.lower()), key=len, default="") for value in values]
        names = [f"{disk}{self.number}" for disk in _FIRST_DISKS] + [node.rpartition("/")[2] for node in self.mapped]
        found = dict.fromkeys((*runs, *names, f"-part{self.number}"))
        return tuple(hint.lower().encode("utf-8", "surrogateescape") for hint in found if hint)

    def may_be_named_by(self, source: str) -> bool:
        """A name of partition `number` of some disk, which may be this one: udev knows, the files do not."""
        match = _OF_SOME_DISK.fullmatch(_without_quotes(source))
        return match is not None and int(match["number"]) == self.number and not self.is_named_by(source)

    def _tags(self) -> dict[str, str | None]:
        return {"UUID": self.uuid, "LABEL": self.label, "PARTUUID": self.partuuid, "PARTLABEL": self.partlabel}

    def _kernel_names(self) -> Iterator[str]:
        return (f"/dev/{disk}{self.number}" for disk in _FIRST_DISKS)

    def _has_tag(self, tag: str, value: str) -> bool:
        own = self._tags().get(tag)
        if own is None:
            return False
        return own.lower() == value.lower() if tag in _HEX_TAGS else own == value

    def _has_link(self, directory: str, name: str) -> bool:
        if directory in ("by-path", "by-id"):
            return any(f"{directory}/{name}" == f"{stem}-part{self.number}" for stem in self.stems)
        return self._has_tag(_NAMED_DIRECTORIES.get(directory, ""), _UDEV_ESCAPE.sub(_from_hex, name))


def _without_quotes(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _octal(value: str) -> str:
    """As fstab writes a blank."""
    return value.replace(" ", "\\040").replace("\t", "\\011")


def _from_octal(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))


def _from_hex(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))

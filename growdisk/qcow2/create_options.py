"""Options of a new image: those of `qemu-img create -o`, and which of them go together.

Version 2 ("0.10") has clusters of any size and nothing else: every other option here needs version
3 ("1.1").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from growdisk.errors import UsageError, bad_value
from growdisk.fast_dataclass import dataclass, replace
from growdisk.qcow2.header_fields import MAX_L1_BYTES, MAX_SIZE, Geometry
from growdisk.units import SUFFIXES

Compat = Literal["0.10", "1.1"]
CompressionType = Literal["zlib", "zstd"]
Preallocation = Literal["off", "metadata", "falloc", "full"]

_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
_CHOICES: dict[str, tuple[str, ...]] = {
    "compat": get_args(Compat),
    "compression_type": get_args(CompressionType),
    "preallocation": get_args(Preallocation),
}
_COMPAT_ALIASES = {"v2": "0.10", "v3": "1.1"}
_POWERS = {
    "cluster_size": tuple(1 << bits for bits in range(9, 22)),
    "refcount_bits": tuple(1 << order for order in range(7)),
}


def option_words(text: str) -> list[str]:
    """The words of qemu-img's -o, where `,,` stands for a comma in one."""
    # No option has a NUL, so that stands for `,,` while the text is split.
    return [word.replace("\0", ",") for word in text.replace(",,", "\0").split(",") if word]


@dataclass(frozen=True)
class CreateOptions:
    """The shape of a new image; `cluster_size` in bytes."""

    cluster_size: int = 1 << 16
    compat: Compat = "1.1"
    refcount_bits: int = 16
    lazy_refcounts: bool = False
    compression_type: CompressionType = "zlib"
    preallocation: Preallocation = "off"
    extended_l2: bool = False
    data_file: str | None = None
    data_file_raw: bool = False

    @classmethod
    def parse(cls, text: str) -> CreateOptions:
        """The options from `cluster_size=4k,compat=0.10,...`, the syntax of qemu-img's -o.

        `,,` stands for a comma in a value. UsageError for an unknown option or value.
        """
        options = cls()
        for word in option_words(text):
            name, equals, value = word.partition("=")
            if not equals or name not in cls.__match_args__:
                known = cls.__match_args__
                raise bad_value(
                    f"'{word}' is not an option of a qcow2 image",
                    "-o",
                    word,
                    hint=f"write NAME=VALUE; NAME: {', '.join(known)}",
                    choices=known,
                )
            options = replace(options, **{name: _value(name, value)})  # type: ignore[arg-type]
        return options

    @property
    def version(self) -> int:
        return 2 if self.compat == "0.10" else 3

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            self.cluster_size.bit_length() - 1,
            self.refcount_bits.bit_length() - 1,
            self.extended_l2,
        )

    def problem(self, size: int, *, backed: bool = False, encrypted: bool = False) -> str | None:
        """Why no image of `size` bytes can be so, or None.

        `backed`: it is to have a backing file.
        """
        if encrypted and self.preallocation != "off" and self.version == 2:
            return "preallocated clusters of an encrypted version 2 image would not read as zeros"
        if encrypted and self.data_file_raw:
            return "an encrypted data file is not a raw image that could be read without the other"
        return (
            self._own_problem()
            or self._version_problem()
            or self._size_problem(size, backed=backed)
        )

    def _own_problem(self) -> str | None:
        if self.cluster_size not in _POWERS["cluster_size"]:
            return "its cluster size is a power of two from 512 bytes to 2 MiB"
        if self.refcount_bits not in _POWERS["refcount_bits"]:
            return "its refcounts have 1, 2, 4, 8, 16, 32 or 64 bits"
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                return f"its {name} is one of {', '.join(known)}"
        if self.data_file_raw and not self.data_file:
            return "data_file_raw says something of a data file, and it has none"
        if self.extended_l2 and self.cluster_size < 1 << 14:
            return "extended L2 entries need clusters of 16 KiB or more"
        return None

    def _version_problem(self) -> str | None:
        # Everything version 2 can have. An option that differs from it needs version 3.
        plain = CreateOptions(self.cluster_size, self.compat, preallocation=self.preallocation)
        if self.version == 3 or self == plain:
            return None
        later = next(
            name for name in self.__match_args__ if getattr(self, name) != getattr(plain, name)
        )
        return f"{later} needs compat=1.1: a version 2 image has no place to say so"

    def _size_problem(self, size: int, *, backed: bool) -> str | None:
        if size % 512 or not 0 <= size <= MAX_SIZE:
            return f"{size} is not a size for a disk"
        if 8 * self.geometry.l1_entries(size) > MAX_L1_BYTES:
            return f"clusters of {self.cluster_size} bytes cannot address {size} bytes"
        if backed and self.data_file_raw:
            return "a raw data file cannot show what only its backing file has"
        if backed and self.preallocation != "off":
            return "preallocated clusters would hide its backing file"
        return None


def _cannot_be(name: str, text: str, hint: str, choices: Iterable[str] = ()) -> UsageError:
    return bad_value(f"{name} cannot be '{text}'", name, text, hint, choices=choices)


def _value(name: str, text: str) -> int | str | bool:
    if name == "compat":
        text = _COMPAT_ALIASES.get(text, text)
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise _cannot_be(
                name, text, f"choose one of {', '.join(_CHOICES[name])}", _CHOICES[name]
            )
        return text
    if name == "data_file":
        if not text:
            raise UsageError("the name of a data file cannot be empty", hint="leave data_file out")
        return text
    if name in _POWERS:
        if (value := _bytes(name, text)) not in _POWERS[name]:
            least, most = _POWERS[name][0], _POWERS[name][-1]
            raise _cannot_be(name, text, f"write a power of two from {least} to {most}")
        return value
    if text not in _SWITCH:
        raise _cannot_be(name, text, f"write {name}=on or {name}=off", ("on", "off"))
    return _SWITCH[text]


def _bytes(name: str, text: str) -> int:
    """A number with an optional binary suffix; without one it is bytes, as for qemu-img."""
    digits = text.rstrip(SUFFIXES + "K")
    suffix = text[len(digits) :].replace("K", "k") or "b"
    if (
        not (digits.isascii() and digits.isdigit())
        or len(digits) > 9
        or suffix not in tuple(SUFFIXES)
    ):
        raise _cannot_be(name, text, f"write {name}=65536 or {name}=64k")
    # SUFFIXES begin with b and go up by 1024 each.
    return int(digits) << 10 * SUFFIXES.index(suffix)

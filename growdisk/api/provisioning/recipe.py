"""What is to be made of a base image: for all outputs (Recipe), and for each of them (Output)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from growdisk.errors import UsageError, bad_value
from growdisk.fast_dataclass import dataclass, field
from growdisk.given_file import given_path, read_given
from growdisk.planner.goal import Backend, SwapPolicy
from growdisk.qcow2.probe import ImageFormat, format_of_new
from growdisk.units import SizeSpec

Compression = Literal["zlib", "zstd"]
_LONGEST_TEXT = 1 << 20  # bytes: an authorized_keys of thousands of lines


@dataclass(frozen=True)
class KeysFor:
    """Public keys, a line each, that may log in as `user`."""

    user: str
    lines: str

    @classmethod
    def in_file(cls, user: str, path: Path) -> KeysFor:
        return cls(user, _text_in(path))


@dataclass(frozen=True)
class PasswordFor:
    """A password: `clear` text, hashed here and never passed on, or a ready hash."""

    user: str
    clear: bytes = field(default=b"", repr=False)
    hashed: str = field(default="", repr=False)

    @classmethod
    def in_file(cls, user: str, path: Path) -> PasswordFor:
        """The first line is the password; the line break does not belong to it."""
        line, _, rest = _text_in(path).partition("\n")
        if rest.strip():
            raise UsageError(f"{path} has more than one line", hint="a password is one line")
        return cls(user, line.removesuffix("\r").encode())


def _text_in(path: Path) -> str:
    try:
        read = read_given(given_path(path), "check its name and permissions", _LONGEST_TEXT)
        return read.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text", hint="a key or a password is one") from error


@dataclass(frozen=True)
class FileInto:
    """A file of the host (`source`), or a text (`content`), that becomes `path` in the guest.

    `template`: its {{ expressions }} are filled in. `owner` and `group` are names or numbers of the
    guest.
    """

    path: str
    source: Path | None = None
    content: str = ""
    template: bool = False
    mode: int = 0o644
    owner: str = "root"
    group: str = ""


@dataclass(frozen=True)
class Seed:
    """A NoCloud seed for cloud-init, an ISO beside the image: host files, or the recipe's texts."""

    user_data: Path | None = None
    meta_data: Path | None = None
    network_config: Path | None = None


@dataclass(frozen=True)
class Recipe:
    """What all outputs have in common.

    `size` None: as large as the base; `format` None: by OUT's name. `overlay`: OUT is a qcow2 on
    top of the base, which must stay where it is and as it is. `base_format` None: probed. Hostname,
    keys, templates and commands may name variables: `name` (OUT without its ending), `n` (its
    number), those of the recipe, and those of the output, which come first. `reproducible`: the
    same inputs give the same bytes, at the time `epoch` (seconds since 1970; None: the latest that
    the base's file systems tell of). `keys` are passphrases of what is encrypted in the base and
    grows.
    """

    size: SizeSpec | None = None
    overlay: bool = False
    format: ImageFormat | None = None
    compress: bool = False
    compression: Compression | None = None
    base_format: ImageFormat | None = None
    partition: str = "auto"
    swap: SwapPolicy | None = None
    backend: Backend = "auto"
    reproducible: bool = False
    epoch: int | None = None
    hostname: str = ""
    reset_machine_id: bool = False
    remove_ssh_host_keys: bool = False
    new_ssh_host_keys: bool = False
    authorized_keys: tuple[KeysFor, ...] = ()
    passwords: tuple[PasswordFor, ...] = ()
    files: tuple[FileInto, ...] = ()
    commands: tuple[str, ...] = ()
    seed: Seed | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def compressed(self) -> bool:
        return self.compress or self.compression is not None

    def format_of(self, out: Path) -> ImageFormat | None:
        """The format of an output of that name; None: that of the base."""
        if self.overlay or (self.compressed and not self.format):
            return "qcow2"
        # Many qcow2 images are called .img: then it is the base's.
        return self.format or (format_of_new(out) if out.suffix.lower() != ".img" else None)


@dataclass(frozen=True)
class Output:
    """One image to be. `size` overrides the recipe's; `variables` are what its texts may name."""

    path: Path
    size: SizeSpec | None = None
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


# Many outputs by a pattern and a number: web-{n:02}.qcow2.

# {n} or {n:02}, but not {{ n }}, which is a template's.
_NUMBER = r"(?<!\{)\{n(?::0?(?P<width>\d))?\}(?!\})"
_MOST = 10_000


def counted(pattern: str, count: int) -> tuple[Output, ...]:
    """`count` outputs, numbered from 1."""
    if not 1 <= count <= _MOST:
        hint = f"from 1 to {_MOST}"
        raise bad_value(f"--count {count} makes no sense", "--count", str(count), hint)
    if count > 1 and not re.search(_NUMBER, pattern):
        problem = "all outputs would have one name"
        raise UsageError(problem, "put {n} into it: web-{n}.qcow2, or web-{n:02}.qcow2")
    return tuple(Output(Path(numbered(pattern, str(number)))) for number in range(1, count + 1))


def numbered(pattern: str, number: str) -> str:
    """{n} and {n:02} in `pattern` filled in."""
    return re.sub(_NUMBER, lambda match: number.zfill(int(match["width"] or 0)), pattern)


def as_template(pattern: str) -> str:
    """The same as a template, for texts that are filled in later; {name} as well."""
    text = re.sub(_NUMBER, lambda match: "{{ n.zfill(%d) }}" % int(match["width"] or 0), pattern)  # noqa: UP031
    return re.sub(r"(?<!\{)\{name\}(?!\})", "{{ name }}", text)

"""The other files that an image names: where they are, and whether they may be opened.

What stands before a colon in the name of a backing file, if no slash comes first, is a protocol to
QEMU. `file:` alone means a file of this host, and counts from the directory that the program runs
in; other names from the image's.

An image may come from a stranger. So a file that it names is followed only inside the image's own
folder, with all symbolic links resolved, unless the user trusts the image (trusting_references) or
has named that file himself (trusting).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from growdisk.errors import ImageNotReadable, ImageUnsupported, ReferenceOutside
from growdisk.qcow2.header_fields import damaged

_VARIABLE = "GROWDISK_TRUST_REFERENCES"
_FILE = "file:"
#: Files that may be named by an image anywhere, resolved; None: all.
_trusted: ContextVar[frozenset[Path] | None] = ContextVar("trusted", default=frozenset())


@contextmanager
def trusting(*paths: Path) -> Iterator[None]:
    """Inside the block an image may name these files, wherever they are.

    It is for files that the user has named himself.
    """
    # None trusts all files already.
    known = _trusted.get()
    token = _trusted.set(None if known is None else known.union(map(real, paths)))
    try:
        yield
    finally:
        _trusted.reset(token)


@contextmanager
def trusting_references() -> Iterator[None]:
    """Inside the block an image may name any file: its user trusts it."""
    token = _trusted.set(None)
    try:
        yield
    finally:
        _trusted.reset(token)


def backing_path(image: Path, name: str) -> Path:
    """Where the backing file of `image` lies. ImageUnsupported for json: and protocol names."""
    if _has_protocol(name) and not name.startswith(_FILE):
        better = f"'./{name}'" if exists(image.parent / name) else "the path of a file here"
        raise ImageUnsupported(
            image,
            reason=f"its backing file '{name}' is not a local file: to QEMU a protocol stands "
            "before its colon",
            hint=f"name {better} instead (of an image that exists: growdisk image rebase "
            "--unsafe -b FILE IMAGE); nothing was changed",
        )
    local = _file_name(image, name.removeprefix(_FILE), "backing file")
    # Joined to a folder, an absolute name stays what it is.
    return Path(local) if name.startswith(_FILE) else image.parent / local


def data_path(image: Path, name: str) -> Path:
    """Where the external data file of `image` lies.

    No part of its name is a protocol. QEMU takes a relative one from the directory that it runs in;
    who made the image meant, as a rule, the image's. A name that means one file here and another
    one there is refused.
    """
    # `as_named` is what QEMU opens, `near` (in the image's folder) what its maker meant.
    as_named = Path(_file_name(image, name, "data file"))
    near = image.parent / as_named
    if not exists(as_named) or real(as_named) == real(near):
        return near
    if exists(near):
        raise ImageUnsupported(
            image,
            reason=f"its data file '{name}' is one file beside it, and another one in the current "
            "directory",
            hint="change into the image's directory first; growdisk has opened neither",
        )
    return as_named


def real(path: Path) -> Path:
    """Where a name leads, all symbolic links resolved as far as they can be.

    Unlike Path.resolve() without errors.
    """
    return Path(os.path.realpath(path))


def exists(path: Path) -> bool:
    """Whether a name leads to a file. Unlike Path.exists() without errors."""
    try:
        return os.path.exists(path)  # noqa: PTH110
    except ValueError:
        return False


def as_local(name: str) -> str:
    """A file's name so written that QEMU does not take its beginning for a protocol."""
    return f"./{name}" if _has_protocol(name) else name


def stored_name(image: Path, name: str) -> str:
    """A backing file's name as the header of `image` must have it for QEMU to find the file."""
    near = image.parent / name
    return as_local(name) if _has_protocol(name) and exists(near) else name


def require_trusted(
    image: Path, path: Path, name: str, what: str, above: Sequence[Path] = ()
) -> None:
    """Raise ReferenceOutside for a file that `image` may not name. It has not been opened then.

    `above`: the layers on top of the image. What lies in the folder of one of those may be named.
    """
    trusted = _trusted.get()
    if trusted is None or real(path) in trusted or os.environ.get(_VARIABLE) == "1":
        return
    if any(is_beside(layer, path) for layer in (image, *above)):
        return
    raise ReferenceOutside(image, name=name, role=what, target=path)


def is_beside(image: Path, path: Path) -> bool:
    """Whether a file is in or below the image's folder, before or after symbolic links."""
    place = real(path)
    # The image may be a link: the folder of the link counts, and that of the file.
    folders = {real(image.parent), real(image).parent}
    return any(
        # An image in / may name what is in / itself, not every file of the host.
        place.parent == folder or (folder.name and place.is_relative_to(folder))
        for folder in folders
    )


def _has_protocol(name: str) -> bool:
    return ":" in name.partition("/")[0]


def _file_name(image: Path, name: str, what: str) -> str:
    if "\0" in name:
        raise damaged(image, f"the name of its {what} cannot be that of a file")
    if os.path.basename(name) in ("", ".", ".."):  # noqa: PTH119 (Path would drop a slash at the end)
        raise ImageNotReadable(image, reason=f"its {what} '{name}' is the name of a folder")
    return name

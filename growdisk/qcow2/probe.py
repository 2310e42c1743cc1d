"""Which format an image file has. A damaged qcow2 header is still qcow2, never raw.

Taking a broken qcow2 file for a raw disk would let a guest's bytes be written over its tables; so
only what carries no other format's magic is raw. The magics are those by which QEMU's drivers know
their files (their bdrv_probe), and the footers of fixed VHD and DMG files, which QEMU takes for raw
if no format is given.
"""

from __future__ import annotations

import re
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import (
    ImageNotReadable,
    ImageUnsupported,
    UsageError,
    shell_quoted,
    shell_word,
)

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    ImageFormat = Literal["qcow2", "raw"]
else:
    ImageFormat = str

_BY_NAME: dict[str, ImageFormat] = {".qcow2": "qcow2", ".raw": "raw", ".img": "raw"}
_OTHER_NAMES = (".vmdk", ".vdi", ".vhd", ".vhdx", ".qed", ".dmg")
_SMALLEST_DISK = 512
_START, _END = 512, 512  # bytes that are looked at
_MAGICS = (  # magic, its offset, what people call it, what QEMU calls it
    (b"QFI\xfb\0\0\0\1", 0, "a qcow (version 1)", "qcow"),
    (b"KDMV", 0, "a VMDK", "vmdk"),
    (b"COWD", 0, "a VMDK", "vmdk"),
    (b"# Disk DescriptorFile", 0, "a VMDK", "vmdk"),
    (b"vhdxfile", 0, "a VHDX", "vhdx"),
    (b"conectix", 0, "a VHD", "vpc"),
    (b"QED\0", 0, "a QED", "qed"),
    (b"\x7f\x10\xda\xbe", 64, "a VDI", "vdi"),
    (b"WithoutFreeSpace", 0, "a Parallels", "parallels"),
    (b"WithouFreSpacExt", 0, "a Parallels", "parallels"),
    (b"Bochs Virtual HD Image", 0, "a Bochs", "bochs"),
    (b"#!/bin/sh\n#V2.0 Format\n", 0, "a cloop", "cloop"),
    (b"LUKS\xba\xbe", 0, "an encrypted (LUKS)", "luks"),
)
_PACKED = (  # magic in lower case, its offset, what it is, what to do
    (b"\x1f\x8b", 0, "a gzip file", "unpack it: gunzip -k {path}"),
    (b"\xfd7zxz\0", 0, "an xz file", "unpack it: xz -dk {path}"),
    (b"(\xb5/\xfd", 0, "a zstd file", "unpack it: zstd -d {path}"),
    (b"bzh", 0, "a bzip2 file", "unpack it: bunzip2 -k {path}"),
    (b"pk\3\4", 0, "a zip file", "unpack it: unzip {path}"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z file", "unpack it: 7z x {path}"),
    (
        b"ustar",
        257,
        "a tar archive (an OVA is one)",
        "unpack it: tar -xf {path}, and convert the VMDK in it",
    ),
    (b"<!doctype html", 0, "a web page", "download it again: the server answered with a page"),
    (b"<html", 0, "a web page", "download it again: the server answered with a page"),
)
# A descriptor alone: comments and empty lines, then the version.
_VMDK_TEXT = rb"(#[^\n]*\n| +\r?\n)*version=[123]\r?\n"
_FOOTERS = (
    (b"conectix", 512, "a VHD", "vpc"),
    (b"conectix", 511, "a VHD", "vpc"),  # of old versions of Virtual PC
    (b"koly", 512, "a DMG", "dmg"),
)


def format_of_name(path: Path) -> ImageFormat | None:
    """The format that a file's name promises; None if it promises none."""
    return _BY_NAME.get(path.suffix.lower())


def format_of_new(path: Path) -> ImageFormat | None:
    """The same for a file that is to be made; UsageError if it promises a format of others."""
    if path.suffix.lower() in _OTHER_NAMES:
        problem = f"{path} would not be what its name says: growdisk makes qcow2 and raw images"
        raise UsageError(problem, "name it .qcow2 or .raw; qemu-img convert makes others of it")
    return format_of_name(path)


def refuse_misleading_name(path: Path, image_format: str) -> None:
    """UsageError if a new image of that format would have the name of the other one."""
    named = format_of_name(path)
    # .img counts as a raw name too, but many qcow2 images are called so.
    if named not in (None, image_format) and path.suffix.lower() != ".img":
        problem = f"{path} would be a {image_format} image with the name of a {named} one"
        raise UsageError(problem, f"name it .{image_format}")


def recorded_format(name: str | None) -> ImageFormat | None:
    """The format that a header records of a backing file; None if it has to be probed."""
    # `file` and `host_device` are QEMU's drivers for the bytes of a file or device.
    return "raw" if name in ("raw", "file", "host_device") else "qcow2" if name == "qcow2" else None


def probe_format(path: Path) -> ImageFormat:
    """qcow2 or raw, by magic.

    ImageUnsupported for other formats and for what is too small to be a disk. ImageNotReadable for
    what is neither a regular file nor a block device: that is not even opened.
    """
    file = RawFile.open(path, lock=False)
    try:
        return probe(file, path)
    except OSError as error:  # a disk that fails, or a file of the kernel's with a wrong size
        raise ImageNotReadable(path, reason=error.strerror or str(error)) from error
    finally:
        file.close()


def probe_to_write(path: Path) -> ImageFormat:
    """As `probe_format`, before a write: a file named *.qcow2 that is none is not taken for raw."""
    found = probe_format(path)
    if found == "raw" and format_of_name(path) == "qcow2":
        raise ImageUnsupported(
            path,
            reason="its name says qcow2, but it does not begin as a qcow2 image does",
            hint="was its header overwritten? If it is a raw disk, say so: -f raw; nothing was "
            "changed",
        )
    if found == "raw":
        _refuse_packed(path)
    return found


def _refuse_packed(path: Path) -> None:
    """A download still packed, or the page of an error: no disk's first bytes are so."""
    with path.open("rb") as file:
        start = file.read(_START)
    for magic, offset, name, cure in _PACKED:
        if start[offset : offset + len(magic)].lower() == magic:
            hint = cure.format(path=shell_word(path))
            raise ImageUnsupported(
                path, reason=f"it is {name}, not a disk image", hint=f"{hint}; nothing was changed"
            )


def probe(file: BlockDevice, path: Path) -> ImageFormat:
    """The same for an open file."""
    # A backing file may be smaller than a sector, as for QEMU; a disk to work on may not.
    found = probe_backing(file, path)
    if found == "raw" and file.size < _SMALLEST_DISK:
        raise ImageUnsupported(
            path, reason=f"it is not a disk image ({file.size} bytes)", hint="check the path"
        )
    return found


def probe_backing(file: BlockDevice, path: Path) -> ImageFormat:
    """As `probe_format`, for a raw file of any size."""
    start = file.read(0, min(file.size, _START))
    other = _other_format(start, file, path)
    if other is not None:
        raise ImageUnsupported(
            path,
            reason=f"it is {other[0]} image; growdisk knows qcow2 and raw",
            hint=_hint(path, other[1]),
        )
    return "qcow2" if start[:4] == b"QFI\xfb" else "raw"


def _other_format(start: bytes, file: BlockDevice, path: Path) -> tuple[str, str] | None:
    """What people and QEMU call the format, if it is another one than ours."""
    for magic, offset, name, driver in _MAGICS:
        if start[offset : offset + len(magic)] == magic:
            return name, driver
    # The end of a qcow2 image may be a guest's bytes, whatever they look like.
    if start[:4] == b"QFI\xfb":
        return None
    if re.match(_VMDK_TEXT, start):
        return "a VMDK", "vmdk"
    end = file.read(max(file.size - _END, 0), min(file.size, _END))
    for magic, distance, name, driver in _FOOTERS:
        # In a file shorter than that distance the footer cannot be at its place.
        if end[len(end) - distance :].startswith(magic) and len(end) >= distance:
            return name, driver
    # QEMU goes by the name alone
    return ("a DMG", "dmg") if path.name[1:].endswith(".dmg") else None


def _hint(path: Path, driver: str) -> str:
    target = shell_word(path.with_name(f"{path.stem}.qcow2"))
    if driver == "luks":
        file = str(path).replace(",", ",,")
        options = shell_quoted(f"driver=luks,key-secret=key,file.filename={file}")
        source = f"--object secret,id=key,file=KEYFILE --image-opts {options}"
    else:
        source = f"-f {driver} {shell_word(path)}"
    return (
        f"qemu-img convert -O qcow2 {source} {target} makes it qcow2; -f raw takes its bytes "
        "as they are"
    )

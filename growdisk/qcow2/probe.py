"""Which format an image file has. A damaged qcow2 header is still qcow2, never raw.

Taking a broken qcow2 file for a raw disk would let a guest's bytes be written over its tables; so only what carries no
other format's magic is raw.
"""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import ImageNotReadable, ImageUnsupported

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    ImageFormat = Literal["qcow2", "raw"]
else:
    ImageFormat = str

_SMALLEST_DISK = 512
_OTHERS = (
    (b"KDMV", 0, "a VMDK"),
    (b"COWD", 0, "a VMDK"),
    (b"# Disk DescriptorFile", 0, "a VMDK"),
    (b"vhdxfile", 0, "a VHDX"),
    (b"conectix", 0, "a VHD"),
    (b"QED\0", 0, "a QED"),
    (b"\x7f\x10\xda\xbe", 64, "a VDI"),
    (b"LUKS\xba\xbe", 0, "an encrypted (LUKS)"),
)


def probe_format(path: Path) -> ImageFormat:
    """qcow2 or raw, by magic. ImageUnsupported for other formats and for what is too small to be a disk."""
    try:
        with path.open("rb") as file:
            start = file.read(_SMALLEST_DISK)
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(size - 512, 0))
            end = file.read(8)
    except OSError as error:
        raise ImageNotReadable(path, reason=error.strerror or str(error)) from error
    if start[:4] == b"QFI\xfb":
        return "qcow2"
    for magic, offset, name in _OTHERS:
        if start[offset : offset + len(magic)] == magic:
            raise ImageUnsupported(path, reason=f"it is {name} image; growdisk knows qcow2 and raw")
    if end == b"conectix":
        raise ImageUnsupported(path, reason="it is a VHD image; growdisk knows qcow2 and raw")
    if len(start) < _SMALLEST_DISK:
        raise ImageUnsupported(path, reason=f"it is not a disk image ({size} bytes)", hint="check the path")
    return "raw"

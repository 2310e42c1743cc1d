"""Format, sizes and options of an image, in the keys of `qemu-img info --output=json`.

Only the header and the lists that it names are read: an image is described also where its data
cannot be (a key or a backing file is missing, its tables are damaged), and the name of a backing
file is shown but never followed.
"""

from __future__ import annotations

import os
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged, ImageNotReadable
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.features import Autoclear, Compatible, Incompatible
from growdisk.qcow2.header import Extension, Header, read_header
from growdisk.qcow2.header_fields import LEGACY_AES
from growdisk.qcow2.probe import ImageFormat, probe, recorded_format
from growdisk.qcow2.snapshots import SnapshotEntry, read_entries
from growdisk.units import align_up

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.block.luks1 import KeySlot
    from growdisk.qcow2.bitmaps import BitmapInfo

_SECTOR = 512
_NANO = 10**9


@dataclass(frozen=True)
class ImageInfo:
    """The facts of one image file.

    `header` is None for raw; `encrypt` are the keys that QEMU shows of a key store.
    """

    path: Path
    format: ImageFormat
    virtual_size: int
    actual_size: int
    header: Header | None = None
    snapshots: tuple[SnapshotEntry, ...] = ()
    bitmaps: tuple[BitmapInfo, ...] = ()
    encrypt: dict[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """The keys of `qemu-img info --output=json`."""
        answer: dict[str, object] = {"virtual-size": self.virtual_size, "filename": str(self.path)}
        header = self.header
        answer |= {"format": self.format, "actual-size": self.actual_size, "dirty-flag": False}
        if header is None:
            return answer
        answer |= {
            "cluster-size": header.cluster_size,
            "dirty-flag": header.has(Incompatible.DIRTY),
        }
        if header.crypt_method:
            answer["encrypted"] = True
        if self.snapshots:
            answer["snapshots"] = [snapshot_json(entry) for entry in self.snapshots]
        answer |= _backing_json(self.path, header)
        answer["format-specific"] = {"type": "qcow2", "data": self._specific(header)}
        return answer

    def _specific(self, header: Header) -> dict[str, object]:
        zstd = header.compression_type == 1
        first: dict[str, object] = {
            "compat": "1.1" if header.version >= 3 else "0.10",
            "compression-type": "zstd" if zstd else "zlib",
        }
        encrypt = {"encrypt": self.encrypt} if self.encrypt else {}
        if header.version < 3:
            return first | {"refcount-bits": header.refcount_bits} | encrypt
        # From here on what only version 3 has. The order of the keys is QEMU's.
        first["lazy-refcounts"] = bool(header.compatible & Compatible.LAZY_REFCOUNTS)
        if self.bitmaps:
            first["bitmaps"] = [bitmap_json(bitmap) for bitmap in self.bitmaps]
        first["refcount-bits"] = header.refcount_bits
        last = {
            "corrupt": header.has(Incompatible.CORRUPT),
            "extended-l2": header.has(Incompatible.EXTENDED_L2),
        }
        return first | encrypt | _data_file_json(header) | last


def image_info(
    path: Path, image_format: ImageFormat | None = None, *, shared: bool = False
) -> ImageInfo:
    """Describe the image at `path`.

    `shared`: also while somebody writes to it, although the answer may be wrong then. Raises
    ImageNotReadable, ImageInUse, ImageDamaged or ImageUnsupported.
    """
    # As qemu-img info -U.
    file = RawFile.open(path, lock=not shared)
    try:
        return _info_of(file, path, image_format)
    except OSError as error:
        raise ImageNotReadable(path, reason=error.strerror or str(error)) from error
    finally:
        file.close()


def _info_of(file: RawFile, path: Path, image_format: ImageFormat | None) -> ImageInfo:
    if (image_format or probe(file, path)) == "raw":
        return ImageInfo(path, "raw", align_up(file.size, _SECTOR), actual_size(path))
    header = read_header(file, path)
    snapshots = read_entries(file, path, header)
    if header.has(Incompatible.DATA_FILE):
        # nobody keeps what lies in a data file: QEMU shows none, and none can be restored
        snapshots = ()
    return ImageInfo(
        path,
        "qcow2",
        header.size,
        actual_size(path),
        header,
        snapshots,
        _bitmaps(file, header),
        _encryption(file, header),
    )


def _bitmaps(file: RawFile, header: Header) -> tuple[BitmapInfo, ...]:
    if header.extension(Extension.BITMAPS) is None:
        return ()
    from growdisk.qcow2.bitmaps import bitmap_infos  # few images have any

    return bitmap_infos(file, header)


def _encryption(file: RawFile, header: Header) -> dict[str, object] | None:
    """The LUKS header inside the image, in QEMU's words; None if nothing is encrypted, or known."""
    if header.crypt_method == LEGACY_AES:
        return {"format": "aes"}
    if not header.crypt_method:
        return None
    from growdisk.block.luks1 import LENGTH, Luks1Header  # few images need it

    offset, length = header.luks_place
    if length < LENGTH or offset + LENGTH > file.size:
        return None
    if (luks := Luks1Header.parse(file.read(offset, LENGTH))) is None:
        return None
    # "xts-plain64", "cbc-essiv:sha256": chaining, how an IV is made, by which hash.
    chaining, _, generator = luks.mode.partition("-")
    name, _, generator_hash = generator.partition(":")
    # The two halves of an XTS key are one cipher key each.
    bits = luks.key_length * (4 if chaining == "xts" else 8)
    facts: dict[str, object] = {
        "ivgen-alg": name,
        "hash-alg": luks.hash,
        "cipher-alg": f"{luks.cipher}-{bits}",
        "uuid": luks.uuid,
        "format": "luks",
        "cipher-mode": chaining,
        "slots": [_slot_json(slot) for slot in luks.slots],
        "payload-offset": luks.payload,
        "master-key-iters": luks.rounds,
    }
    return facts | ({"ivgen-hash-alg": generator_hash} if generator_hash else {})


def _slot_json(slot: KeySlot) -> dict[str, object]:
    if not slot.is_active:
        return {"active": False, "key-offset": slot.offset}
    return {
        "active": True,
        "iters": slot.rounds,
        "key-offset": slot.offset,
        "stripes": slot.stripes,
    }


def actual_size(path: Path) -> int:
    """Bytes that a file takes on the host."""
    # st_blocks counts units of 512 bytes, whatever blocks the file system has.
    return path.stat().st_blocks * 512


def snapshot_json(entry: SnapshotEntry) -> dict[str, object]:
    """A snapshot in the keys of QEMU's SnapshotInfo."""
    answer: dict[str, object] = {
        "id": entry.id,
        "name": entry.name,
        "vm-state-size": entry.vm_state_size,
        "date-sec": entry.date_sec,
        "date-nsec": entry.date_nsec,
        "vm-clock-sec": entry.vm_clock_nsec // _NANO,
        "vm-clock-nsec": entry.vm_clock_nsec % _NANO,
    }
    if entry.icount is not None:
        answer["icount"] = entry.icount
    return answer


def bitmap_json(bitmap: BitmapInfo) -> dict[str, object]:
    flags = [word for word, on in (("in-use", bitmap.in_use), ("auto", bitmap.auto)) if on]
    return {"flags": flags, "name": bitmap.name, "granularity": bitmap.granularity}


def _backing_json(path: Path, header: Header) -> dict[str, object]:
    if header.backing_file is None:
        return {}
    answer: dict[str, object] = {
        "backing-filename": header.backing_file,
        "full-backing-filename": _full_name(path, header.backing_file),
    }
    if header.backing_format is not None:
        answer["backing-filename-format"] = header.backing_format
    return answer


def _data_file_json(header: Header) -> dict[str, object]:
    name = {} if header.data_file is None else {"data-file": header.data_file}
    if not header.has(Incompatible.DATA_FILE):
        return {**name}
    return {**name, "data-file-raw": bool(header.autoclear & Autoclear.RAW_DATA_FILE)}


def _full_name(path: Path, name: str) -> str:
    """A relative name, joined to the image's directory as text, as QEMU does; others are whole."""
    if name.startswith("/") or ":" in name.split("/", 1)[0]:
        return name
    return os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120 (Path would fold "./")


def backing_chain(
    path: Path, image_format: ImageFormat | None = None, *, shared: bool = False
) -> list[ImageInfo]:
    """The image and all that it lies on, topmost first.

    ReferenceOutside for a layer that may not be followed.
    """
    from growdisk.qcow2.named_files import backing_path, real, require_trusted

    chain = [image_info(path, image_format, shared=shared)]
    above: list[Path] = []
    while (header := chain[-1].header) is not None and header.backing_file is not None:
        top, name = chain[-1].path, header.backing_file
        below = backing_path(top, name)
        # Before it is opened: the name may come from a stranger.
        require_trusted(top, below, name, "backing file", above)
        if real(below) in {real(info.path) for info in chain}:
            raise ImageDamaged(path, "qcow2", f"its backing files lead back to {below}")
        above.append(top)
        chain.append(image_info(below, recorded_format(header.backing_format), shared=shared))
    return chain

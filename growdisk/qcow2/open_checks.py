"""Before an image is used: refuses what growdisk cannot do with it, and tries the key."""

from __future__ import annotations

from pathlib import Path

from growdisk.block.device import ResizableDevice
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header, read_header
from growdisk.qcow2.header_fields import damaged
from growdisk.qcow2.image_services import ImageServices
from growdisk.qcow2.metadata import DataFile

#: One, or several of which each encrypted layer of a chain takes the first that opens it.
Passphrase = bytes | tuple[bytes, ...]


def refuse_unusable(header: Header, path: Path, *, writable: bool) -> None:
    """Raise ImageDamaged or ImageUnsupported if the header alone forbids opening the image so."""
    if header.has(Incompatible.CORRUPT) and writable:
        raise damaged(path, "it is marked as corrupt")


def refuse_data_file(
    header: Header, path: Path, data_file: ResizableDevice | None, *, writable: bool
) -> None:
    """Refuse an external data file that is missing or too short."""
    if header.has(Incompatible.DATA_FILE) and data_file is None:
        raise ImageUnsupported(
            path,
            reason="its data lie in an external data file, where nothing can be kept for the way "
            "back",
            hint="growdisk image convert makes a copy without one; or growdisk image resize, and "
            "the rest in the guest",
        )
    if data_file is not None and writable and data_file.size < header.size:
        raise damaged(path, "its external data file is shorter than its disk")


def refuse_cut_off(services: ImageServices) -> None:
    """Refuse an image, before any write, that uses clusters counted beyond the file's end."""
    metadata = services.metadata
    # Counts beyond the end may be mere leaks. If a table names such a cluster, data are lost.
    if metadata.refcounts.counts_from(metadata.geometry.clusters(metadata.file.size)):
        services.refuse_damaged_tables()


def unlock_if_encrypted(
    file: ResizableDevice,
    header: Header,
    path: Path,
    key: Passphrase | None,
    data_file: ResizableDevice | None = None,
) -> DataFile | None:
    """The decrypted guest data of an image; None if it is not encrypted, or there is no key."""
    if not header.crypt_method or key is None or key == ():
        return None
    # the library behind it is loaded for encrypted images only
    from growdisk.qcow2 import encryption

    keys = (key,) if isinstance(key, bytes) else key
    return encryption.open_encrypted(file, data_file or file, header, path, keys)


def repaired(file: ResizableDevice, header: Header, path: Path) -> Header:
    """Mend an image that a crash left with its dirty bit set; the header as it is then."""
    if not header.has(Incompatible.DIRTY):
        return header
    from growdisk.qcow2.repair import repair

    repair(file, path, errors=True)
    return read_header(file, path)

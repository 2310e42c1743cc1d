"""Creates an empty image: header, refcount table and blocks, L1 table, encryption header.

All of it is written before anything depends on it and synced with its directory, so either the
image is there whole, or the file can be removed.
"""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.durable import sync_directory
from growdisk.errors import ImageUnsupported, destination_exists
from growdisk.fast_dataclass import replace
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.features import Autoclear, Compatible, Incompatible, feature_name_table
from growdisk.qcow2.header import Extension, Header
from growdisk.qcow2.header_fields import (
    CURRENT_LENGTH,
    LUKS,
    MAX_BACKING_NAME,
    V2_LENGTH,
    V3_LENGTH,
    Geometry,
)
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.preallocate import preallocate
from growdisk.qcow2.refblock import RefblockCodec
from growdisk.qcow2.subclusters import SubclusterMapping
from growdisk.qcow2.tables import dump_table, progression

_PLAIN = CreateOptions()


def create(
    path: Path,
    size: int,
    options: CreateOptions = _PLAIN,
    *,
    backing: Path | str | None = None,
    backing_format: str | None = None,
    key: bytes | None = None,
    key_seconds: float = 2.0,
    luks: bytes = b"",
    synced_later: bool = False,
    data_place: Path | None = None,
    mode: int = 0o644,
) -> None:
    """Create an empty image of `size` bytes. FileExistsError if `path` exists.

    It is durable when this returns, unless the caller sees to that (`synced_later`), for file and
    directory. Its external data file, if it has one, is created too and must not exist;
    `data_place`: there, until the caller gives it the name that the image knows.

    The name of the backing file is stored as given; a relative one counts from the image's
    directory, as that of the data file does. A block device is written in place. `key`: encrypt
    with LUKS under this passphrase; trying one takes `key_seconds` on a machine like this. `luks`:
    with this encryption header of another image (luks_header) instead. `mode`: of its file. Raises
    ImageUnsupported, with nothing written, for what the format does not allow.
    """
    # Before anything exists: a key that is not text is refused, and the rounds take seconds.
    luks = _new_luks(path, key, key_seconds) if key is not None else luks
    header = _plan(path, size, options, backing, backing_format, luks)
    on_device = path.is_block_device()
    file = RawFile.open(path, writable=True) if on_device else RawFile.create(path, mode=mode)
    data_file: RawFile | None = None
    try:
        if options.data_file:
            place = data_place or data_file_of(path, options.data_file)
            data_file = _new_data_file(place, size)
        #   header │ refcount table │ blocks │ L1 table │ LUKS header (if any)
        length = _clusters(header, luks) * header.cluster_size
        file.resize(length)
        if on_device:
            file.write_zeros(0, length)  # a new file is zeros by itself
        for offset, content in _parts(header, luks):
            file.write(offset, content)
        if options.preallocation != "off" or options.data_file_raw:
            _preallocate(file, path, header, options, data_file)
        if not synced_later:
            file.flush()
            sync_directory(path.absolute().parent)
    except BaseException:
        # What was on a device before is gone; a file can be removed.
        if not on_device:
            path.unlink()
        if data_file is not None:
            data_file.path.unlink()
        raise
    finally:
        file.close()
        if data_file is not None:
            data_file.close()


def _new_data_file(path: Path, size: int) -> RawFile:
    try:
        file = RawFile.create(path, size)
    except FileExistsError as error:
        raise destination_exists(path) from error
    file.flush()
    return file


def _new_luks(path: Path, key: bytes, seconds: float) -> bytes:
    if b"\0" in key or key.decode(errors="ignore").encode() != key:
        raise ImageUnsupported(
            path,
            reason="its passphrase is not text (UTF-8), and QEMU takes no other: no machine could "
            "use it",
            hint="make a text of it: base64 -w0 KEYFILE > NEWFILE; nothing was written",
        )
    # the library behind it is loaded for encrypted images only
    from growdisk.qcow2.encryption import new_luks

    return new_luks(key, seconds)


def _preallocate(
    file: RawFile, path: Path, header: Header, options: CreateOptions, data_file: RawFile | None
) -> None:
    metadata = Metadata(file, path, header, data_file=data_file)
    mapping = SubclusterMapping(metadata) if options.extended_l2 else Mapping(metadata)
    mode = "metadata" if options.preallocation == "off" else options.preallocation
    preallocate(metadata, mapping, 0, header.size, mode)
    metadata.flush()


def _plan(
    path: Path,
    size: int,
    options: CreateOptions,
    backing: Path | str | None,
    backing_format: str | None,
    luks: bytes,
) -> Header:
    """The header of the image to be. ImageUnsupported for what the format does not allow."""
    problem = options.problem(size, backed=backing is not None, encrypted=bool(luks))
    if backing is not None and len(os.fsencode(backing)) > MAX_BACKING_NAME:
        problem = f"the name of a backing file has at most {MAX_BACKING_NAME} bytes"
    if problem is not None:
        raise ImageUnsupported(
            path, reason=problem, hint="choose other options; nothing was written"
        )
    version, geometry = options.version, options.geometry
    # At least one entry: a table of none would share its place with what follows.
    l1_size = max(geometry.l1_entries(size), 1)
    table_clusters, blocks = refcount_area(
        geometry, 1 + geometry.clusters(8 * l1_size) + geometry.clusters(len(luks))
    )
    header = Header(
        version=version,
        cluster_bits=geometry.cluster_bits,
        size=size,
        crypt_method=LUKS if luks else 0,
        l1_size=l1_size,
        l1_offset=(1 + table_clusters + blocks) * geometry.cluster_size,
        reftable_offset=geometry.cluster_size,
        reftable_clusters=table_clusters,
        snapshot_count=0,
        snapshots_offset=0,
        incompatible=_incompatible(options),
        autoclear=int(Autoclear.RAW_DATA_FILE) if options.data_file_raw else 0,
        compatible=int(Compatible.LAZY_REFCOUNTS) if options.lazy_refcounts else 0,
        refcount_order=geometry.refcount_order,
        header_length=CURRENT_LENGTH if version == 3 else V2_LENGTH,
        late_fields=_late_fields(options),
        backing_file=str(backing) if backing is not None else None,
        extensions=_extensions(path, options, backing_format),
    )
    if luks:
        # It lies after the L1 table. The extension has its offset and length.
        place = struct.pack(">QQ", _clusters(header, b"") << header.cluster_bits, len(luks))
        header = replace(
            header, extensions=(Extension(Extension.CRYPTO, place), *header.extensions)
        )
    header = header.fitting()
    if len(header.to_bytes()) > header.cluster_size:
        raise ImageUnsupported(
            path, reason="the names of its other files do not fit into one cluster"
        )
    return header


def _incompatible(options: CreateOptions) -> int:
    zstd = Incompatible.COMPRESSION_TYPE if options.compression_type == "zstd" else 0
    external = Incompatible.DATA_FILE if options.data_file else 0
    return int(zstd | external | (Incompatible.EXTENDED_L2 if options.extended_l2 else 0))


def _late_fields(options: CreateOptions) -> bytes:
    """The fields after the fixed ones of version 3; the compression type comes first."""
    if options.version == 2:
        return b""
    return bytes([options.compression_type == "zstd"]).ljust(CURRENT_LENGTH - V3_LENGTH, b"\0")


def data_file_of(image: Path, name: str) -> Path:
    """Absolute, because QEMU takes a relative name from the directory that it happens to run in."""
    return image.absolute().parent / name


def _extensions(
    path: Path, options: CreateOptions, backing_format: str | None
) -> tuple[Extension, ...]:
    found = []
    if backing_format:
        found.append(Extension(Extension.BACKING_FORMAT, backing_format.encode()))
    if options.data_file:
        name = os.fsencode(data_file_of(path, options.data_file))
        found.append(Extension(Extension.DATA_FILE, name))
    if options.version == 3:
        found.append(Extension(Extension.FEATURE_NAMES, feature_name_table()))
    return tuple(found)


def refcount_area(geometry: Geometry, others: int) -> tuple[int, int]:
    """Clusters of refcount table and refcount blocks that count themselves and `others`."""
    table_clusters, blocks = 1, 1
    while True:
        # Table and blocks take clusters that have to be counted too: until the numbers stay.
        needed = -(-(others + table_clusters + blocks) // geometry.refblock_entries)
        wider = geometry.clusters(8 * needed)
        if (wider, needed) == (table_clusters, blocks):
            return table_clusters, blocks
        table_clusters, blocks = wider, needed


def _parts(header: Header, luks: bytes) -> tuple[tuple[int, bytes], ...]:
    """What stands in the new file, as (offset, bytes); the L1 table after that is empty."""
    geometry, cluster_size = header.geometry, header.cluster_size
    first_block, first_l1 = 1 + header.reftable_clusters, header.l1_offset // cluster_size
    table = progression(first_block * cluster_size, first_l1 - first_block, cluster_size)
    codec = RefblockCodec(geometry.refcount_bits)
    # Everything there is has one reference; the rest of the last block counts nothing.
    counts = array(codec.typecode, [1]) * _clusters(header, luks)
    counts.extend([0] * ((first_l1 - first_block) * geometry.refblock_entries - len(counts)))
    return (
        (0, header.to_bytes()),
        (header.reftable_offset, dump_table(table)),
        (first_block * cluster_size, codec.dump(counts)),
        (_clusters(header, b"") * cluster_size, luks),
    )


def _clusters(header: Header, luks: bytes) -> int:
    """Of the whole new file; the encryption header comes last."""
    geometry = header.geometry
    tables = header.l1_offset // header.cluster_size + geometry.clusters(8 * header.l1_size)
    return tables + geometry.clusters(len(luks))

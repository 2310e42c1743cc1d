"""Reads what there is on a disk: image, table, superblocks.

No appliance and no tool: growdisk show answers in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.errors import ImageUnsupported, TableDamaged, shell_word
from growdisk.filesystems.content import Content, ForeignContent
from growdisk.filesystems.foreign import find_foreign, foreign_table
from growdisk.filesystems.identify import identify
from growdisk.partitions.owners import DYNAMIC_DISK, is_dynamic_disk
from growdisk.partitions.sectors import LARGE_SECTORS, SECTOR_SIZE, made_for_sectors, read_table
from growdisk.partitions.table import PartitionTable, Role
from growdisk.partitions.to_gpt import first_usable, is_lilo, next_sector_of_grub, starts_something
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import read_header
from growdisk.qcow2.header_fields import LEGACY_AES
from growdisk.qcow2.image import Qcow2Image, opened_as_backing
from growdisk.qcow2.named_files import backing_path
from growdisk.qcow2.probe import ImageFormat, probe_format
from growdisk.units import format_size
from growdisk.volumes.inspect import InnerLook
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder

# Of Windows' dynamic disks under an MBR: the private header is in sector 6.
_LDM_AT, _LDM = 6 * 512, b"PRIVHEAD"
# An Amiga's table may be in any of the first 16 sectors.
_HEAD = 16 * 512

Look = Callable[[BlockDevice, int], Content | None]
"""What is in a partition, through all layers; it gets that, and the byte where it starts."""


def facts_of_image(
    path: Path,
    image_format: ImageFormat | None,
    sector_size: int,
    keys: tuple[bytes, ...],
    *,
    lock: bool = True,
) -> Facts:
    """Of the image at `path`. With `lock` refused while a guest has it open, as qemu-img does."""
    kind = image_format or probe_format(path)
    with closing(opened_image(path, kind, keys, lock=lock)) as device:
        keyring = Keyring(keys)
        facts = inspect_device(device, image_facts(device, path), sector_size, keyring)
        blockers = (part for part in facts.blockers() if part.role is not Role.EXTENDED)
        if all(part.number in facts.swaps for part in blockers):
            return facts
        # What stands in the way may be advised to go: not if a system is in it.
        from growdisk.api.guest_look import with_homes
        from growdisk.guest_systems.look import find_homes

        return with_homes(facts, find_homes(device, path, sector_size, keyring))


def inspect_device(
    device: BlockDevice,
    image: ImageFacts,
    sector_size: int = 512,
    keyring: Keyring | None = None,
    look: Look | None = None,
    others: Sequence[tuple[BlockDevice, Path]] = (),
    *,
    thorough: bool = True,
) -> Facts:
    """What is on `device`, the guest-visible content of `image`, and inside its containers.

    `keyring` opens these, or `look` reads instead. Damaged tables are refused. `others` are further
    disks of the guest, onto which a volume group may reach. Not `thorough`: of the disk itself only
    the very ends are read.
    """
    known = keyring or Keyring()
    pv_finder = PhysicalVolumeFinder([(device, image.path), *others], sector_size)
    look = look or (lambda window, _start: InnerLook(known, pv_finder).content(window))
    try:
        table = read_table(device, image.path, sector_size)
    except TableDamaged as error:
        raise _with_likely_cause(error, device) from error
    if table is None or (table.kind == "mbr" and not table.partitions and not table.claims):
        # also under an MBR without entries, which mkfs on a whole disk leaves there
        content = look(device, 0)
        if table is None or content is not None:
            return Facts(
                image,
                None,
                {0: content} if content else {},
                other_table=_other_table(device, content),
            )
    # From here on there is a table, if only an MBR without entries.
    contents = _contents(device, table, look)
    if table.kind == "mbr" and not contents:
        _refuse_other_sectors(device, table, image.path)
    # A board may have its boot loader where a GPT has its sectors, without any code in sector 0.
    own = device.read(0, min(first_usable(table), device.size))
    boot_code = starts_something(own[:sector_size]) or (
        table.kind == "mbr" and any(own[sector_size:])
    )
    # Without entries of its own the first sectors may still have a table of another kind.
    is_empty = table.kind == "mbr" and not table.partitions
    other = _other_table(device, None) if is_empty else ""
    # In a running guest each read takes long, and no file is moved.
    parts = table.partitions if thorough else ()
    starts = [part.start for part in parts if part.start + sector_size <= device.size]
    boot_sectors = [own[:sector_size], *(device.read(at, sector_size) for at in starts)]
    return Facts(
        image,
        table,
        contents,
        boot_code,
        _owner(device, table, contents, thorough=thorough),
        other_table=other,
        loaders_in=tuple(_loaders_in(table, map(next_sector_of_grub, boot_sectors))),
        lilo=any(map(is_lilo, boot_sectors)),
    )


def _loaders_in(table: PartitionTable, sectors: Iterable[int]) -> Iterator[int]:
    parts = [part for part in table.partitions if part.role is not Role.EXTENDED]
    for at in (sector * table.sector_size for sector in sectors):
        yield from (part.number for part in parts if part.start <= at < part.end)


def _other_table(device: BlockDevice, content: Content | None) -> str:
    return "" if content else foreign_table(device.read(0, min(device.size, _HEAD)))


def image_facts(device: BlockDevice, path: Path) -> ImageFacts:
    """The image itself; `device` is what was opened at `path`."""
    # st_blocks counts units of 512 bytes, whatever the file system's block size.
    actual = path.stat().st_blocks * 512
    if not isinstance(device, Qcow2Image):
        padding = device.padding if isinstance(device, RawFile) else 0
        return ImageFacts(path, "raw", device.size, actual, padding=padding)
    header = device.header
    return ImageFacts(
        path,
        "qcow2",
        device.size,
        actual,
        snapshots=tuple(snapshot.name for snapshot in device.snapshots()),
        backing=(header.backing_file,) if header.backing_file else (),
        version=header.version,
        refcount_bits=header.refcount_bits,
        corrupt=header.has(Incompatible.CORRUPT),
        tables=device.tables_size,
        cluster_size=header.cluster_size,
        legacy_encryption=header.crypt_method == LEGACY_AES,
    )


def _contents(device: BlockDevice, table: PartitionTable, look: Look) -> dict[int, Content]:
    found: dict[int, Content] = {}
    for part in table.partitions:
        # It may reach beyond the end: the image was cut off, or copied from a larger disk.
        if part.role is Role.EXTENDED or part.end > device.size:
            continue
        content = look(Window(device, part.start, part.size), part.start)
        if content is not None:
            found[part.number] = content
    return found


def _refuse_other_sectors(device: BlockDevice, table: PartitionTable, path: Path) -> None:
    """An MBR does not say how large its sectors are: what lies where it points to tells."""
    other = LARGE_SECTORS if table.sector_size == SECTOR_SIZE else SECTOR_SIZE
    for part in table.partitions:
        start, size = (n // table.sector_size * other for n in (part.start, part.size))
        if start < device.size:
            found = identify(Window(device, start, min(size, device.size - start)))
            if found is not None and not isinstance(found, ForeignContent):
                raise made_for_sectors(path, "MBR", other)


def _owner(
    device: BlockDevice, table: PartitionTable, contents: dict[int, Content], *, thorough: bool
) -> str:
    """What the disk as a whole belongs to; "" if to nobody else."""
    head = device.read(0, min(device.size, _LDM_AT + 512))
    if is_dynamic_disk(table) or head[_LDM_AT:].startswith(_LDM):
        return DYNAMIC_DISK
    own = [(p.range, contents[p.number].kind) for p in table.partitions if p.number in contents]
    for foreign in find_foreign(device, head, thorough=thorough):
        # A signature at the end of the last partition is that one's own, if it was read so there.
        inside = any(
            place.start <= foreign.offset < place.end and kind == foreign.kind
            for place, kind in own
        )
        if foreign.is_member and not inside:
            return foreign.kind
    return ""


def opened_image(
    path: Path, image_format: ImageFormat, keys: tuple[bytes, ...] = (), *, lock: bool = True
) -> BlockDevice:
    """The guest-visible disk, to read; one of `keys` opens an image that is encrypted.

    Not `lock`: also while a guest writes to it, which may then change it at any time.
    """
    if lock:
        is_qcow2 = image_format == "qcow2"
        return Qcow2Image.open(path, key=keys) if is_qcow2 else RawFile.open_disk(path)
    file = RawFile.open(path, lock=False)
    if image_format == "raw":
        return file
    try:
        # Only the topmost image is written to: those below are opened as ever.
        backing = opened_as_backing(path, read_header(file, path), keys)
        return Qcow2Image.over(file, path, writable=False, backing=backing, key=keys)
    except BaseException:
        file.close()
        raise


# --- an overlay whose base was changed shows a mixture of two disks -------------------------------


def _with_likely_cause(error: TableDamaged, device: BlockDevice) -> TableDamaged:
    """The error about the table of `device`, with what may have happened to an overlay's base."""
    # What a run writes to is a Disk (steps/disk.py): `active` is its image.
    image = getattr(device, "active", device)
    if not isinstance(image, Qcow2Image) or image.header.backing_file is None:
        return error
    try:
        base = backing_path(image.path, image.header.backing_file)
        changed = _was_changed(image, base)
    except (ImageUnsupported, OSError):
        return error
    back = f"take that back (growdisk rollback {shell_word(base)}, or a backup of both)"
    if changed:
        reason = f"{error.reason}; the likely cause: {base.name} below it was changed {changed}"
        return TableDamaged(error.path, reason=reason, hint=back)
    hint = f"if {base.name} below it was changed, {back}; else: {error.hint}"
    return TableDamaged(error.path, error.reason, hint)


def _was_changed(image: Qcow2Image, base: Path) -> str:
    """The sign that somebody wrote to the base after the overlay was made; "" if there is none."""
    size = image.backing.size if image.backing is not None else 0
    if size > image.size:
        # As a rule an overlay is made in the size of its base: the base has grown since.
        return (
            f"and has {format_size(size)} now, more than the {format_size(image.size)} of this "
            "image"
        )
    # A guest that has run on the overlay since makes this the newer file: then there is no sign.
    if base.stat().st_mtime_ns > image.path.stat().st_mtime_ns:
        return "later than this image was"
    return ""

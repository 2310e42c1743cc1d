"""Reads what there is: image, table, superblocks.

No appliance and no tool, so it answers in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.errors import TableDamaged
from growdisk.filesystems.content import Content
from growdisk.filesystems.foreign import ContentOwner, find_foreign
from growdisk.filesystems.nested_table import foreign_table
from growdisk.partitions.owners import DYNAMIC_DISK, is_dynamic_disk
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import PartitionTable, Role
from growdisk.partitions.to_gpt import first_usable, starts_something
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header_fields import LEGACY_AES
from growdisk.qcow2.image import Qcow2Image
from growdisk.volumes.inspect import look_inside
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder

# Of Windows' dynamic disks under an MBR: the private header is in sector 6.
_LDM_AT, _LDM = 6 * 512, b"PRIVHEAD"
# An Amiga's table may be in any of the first 16 sectors.
_HEAD = 16 * 512

Look = Callable[[BlockDevice, int], Content | None]
"""What stands in a partition, all the way in: of the partition, and the byte of the disk that it
starts at.
"""


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
    look = look or (lambda window, _start: look_inside(window, known, pv_finder))
    try:
        table = read_table(device, image.path, sector_size)
    except TableDamaged as error:
        from growdisk.api.broken_overlay import with_likely_cause  # few disks need it

        raise with_likely_cause(error, device) from error
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
    # Where a GPT would have its own sectors, a board may have its boot loader, without any code in
    # sector 0.
    own = device.read(0, min(first_usable(table), device.size))
    boot_code = starts_something(own[:sector_size]) or (
        table.kind == "mbr" and any(own[sector_size:])
    )
    # Without entries of its own the first sectors may still have a table of another kind.
    is_empty = table.kind == "mbr" and not table.partitions
    other = _other_table(device, None) if is_empty else ""
    return Facts(
        image,
        table,
        contents,
        boot_code,
        _owner(device, table, contents, thorough=thorough),
        other_table=other,
    )


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
        # A partition may reach beyond the end: the image was cut off, or is smaller than the disk
        # that it was copied from.
        if part.role is Role.EXTENDED or part.end > device.size:
            continue
        content = look(Window(device, part.start, part.size), part.start)
        if content is not None:
            found[part.number] = content
    return found


def _owner(
    device: BlockDevice, table: PartitionTable, contents: dict[int, Content], *, thorough: bool
) -> str:
    """What the disk as a whole belongs to; "" if to nobody else."""
    head = device.read(0, min(device.size, _LDM_AT + 512))
    if is_dynamic_disk(table) or head[_LDM_AT:].startswith(_LDM):
        return DYNAMIC_DISK
    own = [
        (part.range, contents[part.number].kind)
        for part in table.partitions
        if part.number in contents
    ]
    for foreign in find_foreign(device, head, thorough=thorough):
        # A signature at the end of the last partition is that one's own, if it was read as such
        # there.
        inside = any(
            place.start <= foreign.offset < place.end and kind == foreign.kind
            for place, kind in own
        )
        if foreign.owner is ContentOwner.WHOLE and not inside:
            return foreign.kind
    return ""

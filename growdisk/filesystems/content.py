"""What stands in a partition by its superblock: plain values, a class per family of contents.

`kind` and `uuid` are spelled as blkid spells them. Sizes are bytes; None if the superblock does
not say.
"""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterator, Mapping
from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.volume_group import VolumeGroup


@dataclass(frozen=True)
class Content:
    """A recognised content.

    `size` is what it covers of its device, `used` what of that is taken.
    """

    kind: str
    uuid: str = ""
    label: str = ""
    size: int | None = None
    used: int | None = None

    growable: ClassVar[str | None] = None
    """Which tool grows it here; None: growdisk cannot grow this kind."""

    @property
    def inner(self) -> tuple[Content | None, ...]:
        """What stands in it: in a container that was opened, in logical volumes."""
        return ()

    def all_within(self) -> Iterator[Content]:
        """Itself and all that stands in it, from the outside in."""
        yield self
        for inner in self.inner:
            yield from inner.all_within() if inner else ()

    @property
    def fullness(self) -> float | None:
        """0 to 1, of what users may fill, as df has it; None if the superblock does not say."""
        if self.used is None or not self.size:
            return None
        # df's percentage is used / (used + available): `overhead` is in neither, `reserved` is not
        # available.
        room = self.size - self.overhead - self.reserved
        return min(max(self.used + self.held - self.overhead, 0) / max(room, 1), 1.0)

    @property
    def reserved(self) -> int:
        """Bytes that users may not fill: kept for root, or by the kernel."""
        return 0

    @property
    def overhead(self) -> int:
        """Bytes of `used` for its tables and journal; df counts these neither as used nor free."""
        return 0

    @property
    def held(self) -> int:
        """Bytes that are free at rest, and that the kernel takes for itself while it is mounted."""
        return 0


@dataclass(frozen=True)
class ExtContent(Content):
    """ext2, ext3 or ext4. `size` is block_count * block_size, the "filesystem size" of dumpe2fs.

    `reserved_blocks` only root may fill, `kept_blocks` nobody; `overhead_blocks` are its own tables
    and journal. `cluster_size` is what it gives out at once: more than a block with bigalloc.
    `external_journal` is the UUID of the device that its journal is on, "" if that is in the
    file system itself. `backup_groups`: where sparse_super2 has its two copies of the superblock.
    `starts`: there is code of a boot loader before it. `in_check`: by its MMP block an e2fsck has
    it, or had it when it was cut short.
    """

    block_size: int = 4096
    block_count: int = 0
    reserved_blocks: int = 0
    clean: bool = True
    needs_recovery: bool = False
    compat: int = 0
    incompat: int = 0
    ro_compat: int = 0
    first_data_block: int = 0
    cluster_size: int = 0
    blocks_per_group: int = 32768
    inode_blocks_per_group: int = 0
    reserved_gdt_blocks: int = 0
    descriptor_size: int = 32
    inodes_per_group: int = 0
    external_journal: str = ""
    groups_per_flex: int = 1
    backup_groups: tuple[int, ...] = ()
    kept_blocks: int = 0
    overhead_blocks: int = 0
    starts: bool = False
    in_check: bool = False

    growable: ClassVar[str | None] = "resize2fs"

    @property
    def reserved(self) -> int:
        return (self.reserved_blocks + self.kept_blocks) * self.block_size

    @property
    def overhead(self) -> int:
        return self.overhead_blocks * self.block_size

    @property
    def groups(self) -> int:
        return -(-(self.block_count - self.first_data_block) // self.blocks_per_group)

    @property
    def inodes(self) -> int:
        return self.groups * self.inodes_per_group

    @property
    def has_64bit(self) -> bool:
        return bool(self.incompat & 0x80)


@dataclass(frozen=True)
class JournalContent(Content):
    """The journal of an ext file system that stands elsewhere: jbd, as blkid calls it."""


@dataclass(frozen=True)
class SwapContent(Content):
    """`hibernated`: the signature of a suspended system ("S1SUSPEND"), or "".

    `random_key`: encrypted with another key at each start; nothing on the disk tells. `page_size`:
    of the machine that made it, the only one that swaps on it.
    """

    hibernated: str = ""
    random_key: bool = False
    page_size: int = 4096


@dataclass(frozen=True)
class XfsContent(Content):
    """XFS; all allocation groups but the last have `ag_blocks`.

    `unfit` says why no kernel here can mount it.
    """

    block_size: int = 4096
    block_count: int = 0
    ag_blocks: int = 1
    ag_count: int = 1
    log_blocks: int = 0
    unfit: str = ""

    growable: ClassVar[str | None] = "xfs_growfs"

    @property
    def overhead(self) -> int:
        return self.log_blocks * self.block_size

    @property
    def held(self) -> int:
        """A twentieth, at most 8192 blocks, and eight blocks of each group.

        Sources: xfs_default_resblks, xfs_alloc_set_aside.
        """
        return (min(self.block_count // 20, 8192) + 8 * self.ag_count) * self.block_size


@dataclass(frozen=True)
class BtrfsContent(Content):
    """btrfs; `size` is of all devices, this is number `device_id` of `devices`.

    It has `device_size` bytes in use. `unfit` says why no kernel here can mount it, to write.
    """

    sector_size: int = 4096
    devices: int = 1
    device_id: int = 1
    device_size: int = 0
    unfit: str = ""

    growable: ClassVar[str | None] = "btrfs filesystem resize"


@dataclass(frozen=True)
class NtfsContent(Content):
    """`dirty`: Windows wants to check it first.

    `hibernated`: Windows sleeps in it, or was only half shut down. `system`: Windows, or what
    starts it, is in it. `has_bad_clusters`: by its own list of them.
    """

    cluster_size: int = 4096
    dirty: bool = False
    hibernated: bool = False
    system: bool = False
    sector_size: int = 512
    has_bad_clusters: bool = False

    growable: ClassVar[str | None] = "ntfsresize"


@dataclass(frozen=True)
class F2fsContent(Content):
    """`unfit` says why its tools would refuse it; `checkpoints` are the places of both, in bytes.

    Not `clean`: what was synced last is known to a kernel that mounts it, and to nobody else.
    """

    unfit: str = ""
    clean: bool = True
    checkpoints: tuple[int, ...] = ()

    growable: ClassVar[str | None] = "resize.f2fs"


@dataclass(frozen=True)
class FixedContent(Content):
    """A kind of which it is known that no tool grows it in place: FAT, exFAT."""


@dataclass(frozen=True)
class ForeignContent(Content):
    """What growdisk knows by name alone, and leaves as it is. `over`: what it looks like as well.

    `member`: it belongs to a larger whole (an array, a pool, a key), which its own bytes do not
    tell all of. `hashed`: how many bytes of something else it has the hashes of.
    """

    over: tuple[str, ...] = ()
    member: bool = False
    hashed: int = 0


@dataclass(frozen=True)
class PhysicalVolumeContent(Content):
    """A physical volume of LVM.

    `group` is None if it belongs to none, or if its metadata are `unreadable`. `volumes` is
    what stands in the logical volumes that can be read without LVM, by name. `other_pvs` are those
    of the group that were found, by their keys.
    """

    group: VolumeGroup | None = None
    unreadable: str = ""
    volumes: tuple[tuple[str, Content | None], ...] = ()
    other_pvs: tuple[str, ...] = ()

    growable: ClassVar[str | None] = "pvresize"

    @property
    def inner(self) -> tuple[Content | None, ...]:
        return tuple(content for _, content in self.volumes)


@dataclass(frozen=True)
class LuksContent(Content):
    """An encrypted container; `inside` is None until `unlocked`, or if nothing is recognised in it.

    `payload` is where the encrypted bytes begin, `size` how many there are; `fixed` says why they
    do not simply reach to the end of the device, `cure` what to do about that. `tried`: there were
    passphrases, whether one opened it or not. `registers`: those of a TPM that opens it while they
    are as they were.
    """

    version: int = 1
    payload: int = 0
    fixed: str = ""
    cure: str = ""
    sector_size: int = 512
    tried: bool = False
    registers: frozenset[int] = frozenset()
    unlocked: bool = False
    inside: Content | None = None

    growable: ClassVar[str | None] = "cryptsetup"

    @property
    def inner(self) -> tuple[Content | None, ...]:
        return (self.inside,)


@dataclass(frozen=True)
class AmbiguousContent(Content):
    """Several signatures at once: a wrong guess could cost somebody's data, so none is made."""

    candidates: tuple[str, ...] = ()


def text(raw: bytes) -> str:
    """A label: up to the first NUL, as UTF-8."""
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def dashed(raw: bytes) -> str:
    """16 bytes as the usual UUID text; "" for all zeros, which means that none was given."""
    return str(uuids.UUID(bytes=raw)) if any(raw) else ""


# --- the programs that grow it: ntfsresize(8), resize.f2fs(8) ------------------------------------

# A check, and the growth, each with the device after it: these need no kernel.
UNMOUNTED_GROWTH: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "ntfs": (
        ("ntfsresize", "--no-progress-bar", "--no-action", "--force"),
        # ntfsresize(8): once for a volume that is marked to be checked, twice for no question.
        ("ntfsresize", "--no-progress-bar", "--force", "--force"),
    ),
    "f2fs": (("fsck.f2fs", "-f"), ("resize.f2fs",)),
}
_OTHERS: Mapping[str, str] = {
    "xfs": "xfs_growfs",
    "btrfs": "btrfs",
    "ext2": "resize2fs",
    "ext3": "resize2fs",
    "ext4": "resize2fs",
}


def growing_programs(kind: str) -> tuple[str, ...]:
    if kind in UNMOUNTED_GROWTH:
        return tuple(command[0] for command in UNMOUNTED_GROWTH[kind])
    return (_OTHERS[kind],)

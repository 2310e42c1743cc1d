"""What stands in a partition, as its superblock tells it: plain values, one class per family of contents.

`kind` and `uuid` are spelled as blkid spells them. Sizes are bytes; None where the superblock does not say.
"""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """A recognised content. `size` is what it covers of its device, `used` what of that is taken."""

    kind: str
    uuid: str = ""
    label: str = ""
    size: int | None = None
    used: int | None = None

    @property
    def growable(self) -> str | None:
        """Which tool grows it here; None: growdisk cannot grow this kind."""
        return None


@dataclass(frozen=True)
class ExtContent(Content):
    """ext2, ext3 or ext4. `size` is block_count * block_size, the "filesystem size" of dumpe2fs."""

    block_size: int = 4096
    block_count: int = 0
    free_blocks: int = 0
    clean: bool = True
    has_errors: bool = False
    needs_recovery: bool = False
    compat: int = 0
    incompat: int = 0
    ro_compat: int = 0
    first_data_block: int = 0
    blocks_per_group: int = 32768
    inode_blocks_per_group: int = 0
    reserved_gdt_blocks: int = 0
    descriptor_size: int = 32

    @property
    def growable(self) -> str | None:
        return "resize2fs"

    @property
    def has_64bit(self) -> bool:
        return bool(self.incompat & 0x80)

    @property
    def has_resize_inode(self) -> bool:
        return bool(self.compat & 0x10)


@dataclass(frozen=True)
class SwapContent(Content):
    """Swap space. `hibernated` holds the signature of a suspended system ("S1SUSPEND", ...), "" when there is none."""

    page_size: int = 4096
    hibernated: str = ""


@dataclass(frozen=True)
class LuksContent(Content):
    """An encrypted container; what is inside cannot be seen without the key."""

    version: int = 1


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

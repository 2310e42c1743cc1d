"""The parts of one open image, each made, and its module loaded, when it is first needed.

A command that only lists snapshots never loads what writes guest data: loading it takes longer than
the command.
"""

from __future__ import annotations

from functools import cached_property

from growdisk.qcow2.features import Incompatible

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.block.device import BlockDevice
    from growdisk.qcow2.compressed_writer import CompressedWriter
    from growdisk.qcow2.l1_walk import Walker
    from growdisk.qcow2.mapping import Mapping
    from growdisk.qcow2.metadata import Metadata
    from growdisk.qcow2.preflight import Preflight, Reservation
    from growdisk.qcow2.reader import Reader
    from growdisk.qcow2.resize import Resizer
    from growdisk.qcow2.revert import Reverter
    from growdisk.qcow2.snapshot_ops import SnapshotManager
    from growdisk.qcow2.writer import Writer


class ImageServices:
    """What works on the metadata of one image, put together."""

    def __init__(self, metadata: Metadata, backing: BlockDevice | None) -> None:
        self.metadata, self.backing = metadata, backing

    def refuse_damaged_tables(self) -> None:
        """ImageDamaged for what the tables of the disk or of a snapshot name, and may not."""
        for l1 in (self.metadata.l1, *self.snapshots.l1_tables(self.snapshots.entries)):
            self.walker.references(l1)

    @cached_property
    def mapping(self) -> Mapping:
        if self.metadata.header.has(Incompatible.EXTENDED_L2):
            from growdisk.qcow2.subclusters import SubclusterMapping

            return SubclusterMapping(self.metadata)
        from growdisk.qcow2.mapping import Mapping

        return Mapping(self.metadata)

    @cached_property
    def walker(self) -> Walker:
        from growdisk.qcow2.l1_walk import Walker

        return Walker(self.metadata, self.mapping)

    @cached_property
    def reader(self) -> Reader:
        from growdisk.qcow2.reader import Reader

        return Reader(self.metadata, self.mapping, self.backing)

    @cached_property
    def writer(self) -> Writer:
        from growdisk.qcow2.writer import Writer

        return Writer(self.metadata, self.mapping, self.reader)

    @cached_property
    def preflight(self) -> Preflight:
        from growdisk.qcow2.preflight import Preflight

        return Preflight(self.metadata, self.mapping, self.reader, self.walker)

    def reservation(self) -> Reservation:
        # Not kept: a reservation is for one write.
        from growdisk.qcow2.preflight import Reservation

        return Reservation(self.metadata, self.mapping, self.writer)

    @cached_property
    def compressed_writer(self) -> CompressedWriter:
        from growdisk.qcow2.compressed_writer import CompressedWriter

        return CompressedWriter(self.metadata, self.mapping, self.reader, self.writer)

    @cached_property
    def resizer(self) -> Resizer:
        from growdisk.qcow2.resize import Resizer

        return Resizer(self.metadata, self.mapping, self.reader, self.writer, self.walker)

    @cached_property
    def snapshots(self) -> SnapshotManager:
        """Reads the snapshot table: ImageDamaged if that cannot be read."""
        from growdisk.qcow2.snapshot_ops import SnapshotManager

        return SnapshotManager(self.metadata, self.walker)

    @cached_property
    def reverter(self) -> Reverter:
        from growdisk.qcow2.revert import Reverter

        return Reverter(self.metadata, self.walker, self.snapshots)

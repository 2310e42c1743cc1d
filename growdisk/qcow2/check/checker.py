"""An independent check of an image: counts every reference and compares with the refcounts.

Reports the numbers of `qemu-img check --output=json`. A leak is a cluster that is counted but not
used (harmless); a corruption is anything that can lose data at the next write. Also found here, and
not by QEMU: tables that share their cluster with something else although the refcount says so.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import ImageUnsupported
from growdisk.fast_dataclass import asdict, dataclass, replace
from growdisk.qcow2.check.check_errors import CheckErrors
from growdisk.qcow2.check.cluster_counts import TooScattered
from growdisk.qcow2.check.copied_flags import check_copied_flags
from growdisk.qcow2.check.reference_count import ReferenceCount
from growdisk.qcow2.check.stored_refcounts import StoredRefcounts
from growdisk.qcow2.header import Header, read_header


@dataclass(frozen=True)
class CheckReport:
    """The result of a check; counts are clusters.

    `problems` are lines for people, the first hundred of each kind.
    """

    path: Path
    check_errors: int
    leaks: int
    corruptions: int
    leaks_fixed: int
    corruptions_fixed: int
    total_clusters: int
    allocated_clusters: int
    fragmented_clusters: int
    compressed_clusters: int
    image_end_offset: int
    problems: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.leaks or self.has_errors)

    @property
    def has_errors(self) -> bool:
        """Whether there is more than leaks."""
        return bool(self.corruptions or self.check_errors)

    def as_json(self) -> dict[str, str | int]:
        """The keys and conventions of `qemu-img check --output=json`, zeros included."""
        numbers = {
            name.replace("_", "-"): value
            for name, value in asdict(self).items()
            if name not in ("path", "problems")
        }
        return {"filename": str(self.path), "format": "qcow2", **numbers}


@dataclass(frozen=True)
class Analysis:
    """All that a check learns and a repair needs."""

    path: Path
    header: Header
    stored: StoredRefcounts
    recount: ReferenceCount
    findings: CheckErrors

    def report(self) -> CheckReport:
        header, recount, findings = self.header, self.recount, self.findings
        return CheckReport(
            path=self.path,
            check_errors=findings.check_errors,
            leaks=findings.leaks,
            corruptions=findings.corruptions,
            leaks_fixed=0,
            corruptions_fixed=0,
            total_clusters=-(-header.size // header.cluster_size),
            allocated_clusters=recount.fragmentation.allocated,
            fragmented_clusters=recount.fragmentation.fragmented,
            compressed_clusters=recount.fragmentation.compressed,
            image_end_offset=self.end_of_use() * header.cluster_size,
            problems=findings.lines,
        )

    def end_of_use(self) -> int:
        """The first cluster after all that are referenced or counted."""
        end = self.recount.end_cluster
        return max(self.recount.counted.last_used(end), self.stored.counts.last_used(end)) + 1


def check(file: BlockDevice, path: Path) -> CheckReport:
    """Check the image in `file`; changes nothing.

    Raises ImageDamaged or ImageUnsupported if the header itself cannot be believed.
    """
    return analyse(file, path).report()


def analyse(file: BlockDevice, path: Path) -> Analysis:
    """Count the references, and compare them with what is stored."""
    header, findings = read_header(file, path), CheckErrors()
    try:
        stored = StoredRefcounts(file, header)
        recount = ReferenceCount(file, header, stored, findings)
        analysis = Analysis(path, header, stored, recount, findings)
        _check_overflow(analysis)
        _check_sole_owners(analysis)
        end = max(recount.end_cluster, 1)
        for row in recount.counted.differing(stored.counts, end):
            findings.wrong_counts(*row)
        check_copied_flags(file, header, recount.l2, stored.counts, findings)
    except TooScattered as error:
        raise ImageUnsupported(
            path,
            reason=f"what it refers to is scattered over a file of {file.size} bytes, too widely "
            "to be counted",
            hint="convert it, if it can be read; nothing was changed",
        ) from error
    return analysis


def fixed(before: CheckReport, after: CheckReport) -> CheckReport:
    """The report after a repair, with what it repaired."""
    return replace(
        after,
        leaks_fixed=max(0, before.leaks - after.leaks),
        corruptions_fixed=max(0, before.corruptions - after.corruptions),
    )


def _check_overflow(analysis: Analysis) -> None:
    """More references than the refcount's width can say: each one too many is a corruption."""
    largest = (1 << analysis.header.refcount_bits) - 1
    for cluster, count in analysis.recount.counted.above(largest):
        analysis.findings.broken_structure(
            f"cluster {cluster} has {count} references; {largest} fit", count - largest
        )
        # Counted as the largest from here on: the comparison must not report the rest again.
        analysis.recount.counted.add(cluster, largest - count)


def _check_sole_owners(analysis: Analysis) -> None:
    """Tables that share a cluster with something else."""
    refcounts = analysis.recount.refcount_clusters
    counted = analysis.recount.counted
    stored = analysis.stored.counts
    bits = analysis.header.cluster_bits
    owned = (
        (name, cluster, 1)
        for name, clusters in analysis.recount.tables
        for cluster in counted.others_than_one(clusters.start, len(clusters))
    )
    # An L2 table may be shared: by as many L1 entries as name it.
    l2_tables = (
        ("L2 table", offset >> bits, times) for offset, times in analysis.recount.l2_tables.items()
    )
    for name, cluster, references in chain(owned, l2_tables):
        # A refcount structure that is an owner is reported already, and can be made again.
        if counted[cluster] - refcounts[cluster] > references:
            # If the refcount is wrong, the comparison counts the corruption.
            line = f"the {name} shares cluster {cluster} with something else"
            analysis.findings.broken_structure(line, times=int(stored[cluster] == counted[cluster]))

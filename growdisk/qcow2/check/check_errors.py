"""What a check has found so far: exact numbers, and a bounded list of lines for people."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass, field

MAX_LINES = 100  # of each kind


@dataclass
class CheckErrors:
    """A collector.

    `broken` says why no repair may trust the references; `rebuild` why the refcounts must be new.
    """

    corruptions: int = 0
    leaks: int = 0
    check_errors: int = 0
    error_lines: list[str] = field(default_factory=list)
    leak_lines: list[str] = field(default_factory=list)
    broken: str | None = None
    rebuild: str | None = None
    incomplete: bool = False  # entries of the snapshot table
    # data that were counted, in a file that ends before them
    cut_off: list[str] = field(default_factory=list)
    misplaced_zeros: bool = False  # entries that read as zeros whatever offset stands in them

    def corruption(self, line: str, times: int = 1) -> None:
        """A mistake that a repair can mend."""
        self.corruptions += times
        _note(self.error_lines, line)

    def broken_structure(self, line: str, times: int = 1) -> None:
        """A mistake that makes the references themselves doubtful."""
        self.corruption(line, times)
        self.broken = self.broken or line

    def cut_off_data(self, line: str, times: int) -> None:
        """Record data that lie beyond the end of a file that was cut off.

        They are lost, and read as zeros once the file is made longer again.
        """
        self.corruption(line, times)
        _note(self.cut_off, line)

    def misplaced_zero(self, line: str, times: int) -> None:
        """A zero cluster whose offset cannot be true, and does not matter."""
        self.corruption(line, times)
        self.misplaced_zeros = True

    def broken_refcounts(self, line: str) -> None:
        """A mistake in the tables that hold the refcounts."""
        self.corruption(line)
        self.rebuild = self.rebuild or line

    def incomplete_snapshot(self, line: str) -> None:
        """Record a snapshot without version 3's extra data: the image's size is assumed for it."""
        self.corruption(line)
        self.incomplete = True

    def wrong_counts(self, clusters: range, references: int, refcount: int) -> None:
        """Clusters that have this refcount and that many references."""
        # Too high wastes a cluster. Too low: it may be handed out while it is in use.
        word, lines = "", self.error_lines
        if refcount > references:
            self.leaks += len(clusters)
            word, lines = "leaked ", self.leak_lines
        else:
            self.corruptions += len(clusters)
        # Not a line more than are kept: there may be millions of them.
        for cluster in clusters[: MAX_LINES + 1 - len(lines)]:
            _note(lines, f"{word}cluster {cluster}: refcount {refcount}, references {references}")

    @property
    def lines(self) -> tuple[str, ...]:
        """The errors, then the leaks; each kind ends with "..." if there are too many."""
        return (*self.error_lines, *self.leak_lines)


def _note(lines: list[str], line: str) -> None:
    # A damaged image may have millions of errors. The numbers stay exact.
    if len(lines) < MAX_LINES:
        lines.append(line)
    elif len(lines) == MAX_LINES:
        lines.append("...")

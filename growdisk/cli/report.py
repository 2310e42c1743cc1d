"""How a Result is reported: as drawings and lines to people, as the contract's JSON to scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.api.result import Result, document
from growdisk.cli.disk_lines import headline, partition_rows, volumes, wrapped
from growdisk.cli.drawing import bar
from growdisk.cli.output import CommandOutput
from growdisk.errors import shell_word
from growdisk.fast_dataclass import replace
from growdisk.planner.layout import Layout
from growdisk.units import format_size

_SWAP_KEPT = "--swap move or --swap file keeps it"
# chattr is for btrfs, which swaps on no file that is copied on write; it says nothing elsewhere.
_SWAP_AGAIN = (
    "--swap move or --swap file would have kept it. A swap file inside the guest: touch "
    "/swapfile; chattr -f +C /swapfile; fallocate -l 1G /swapfile; chmod 600 /swapfile; mkswap "
    "/swapfile; swapon /swapfile; and a line for it in /etc/fstab"
)
_READABLE = 40  # columns that a bar needs for its captions


def print_result(result: Result, output: CommandOutput, *, image: Path, command: str = "") -> int:
    """Show how it ended; returns the exit code. `command`: what carries a plan out.

    With -q a success is silent; a plan is what was asked for, and is shown.
    """
    output.document(document(result))
    if result.error:
        output.error(result.error)
    if result.error or result.result == "planned" or not output.quiet:
        output.lines(_lines(result, output.width, shell_word(image), command))
    return result.exit_code


def print_commit(result: Result, output: CommandOutput, *, image: Path) -> int:
    """The run was shown when it ended; what is new is that it cannot be rolled back."""
    if result.result != "changed":
        return print_result(result, output, image=image)
    output.document(document(result))
    size = format_size(result.after.image.virtual_size)
    output.lines([f"{shell_word(image)} stays as it is ({size}), and the way back is forgotten"])
    return result.exit_code


def _lines(result: Result, width: int, image: str, command: str) -> Iterator[str]:
    """Drawings and texts, none wider than `width` if its words allow it."""
    if result.result in ("planned", "changed"):
        yield from before_and_after(result, width)
        for before, after in result.others:
            yield from before_and_after(replace(result, before=before, after=after), width)
    if result.result == "planned":
        yield from _steps(result, width)
    for text in _texts(result):
        yield from wrapped(text, width, "  ")
    yield from _last_lines(result, image, command)


def _last_lines(result: Result, image: str, command: str) -> Iterator[str]:
    """Where the disk stands now, and what can be run next."""
    match result.result:
        case "nochange" if command:
            yield f"give it more: {command} +10G"
        case "planned":
            yield "this is only a plan: nothing has been changed"
            if command:
                yield f"run it: {command}"
        case "changed":
            yield f"done in {sum(step.seconds for step in result.steps):.1f} s"
            if result.kept:
                until = "" if result.snapshots == "internal" else " until something writes to it"
                yield (
                    f"the way back is kept{until}: growdisk rollback {image} takes it, growdisk "
                    f"commit {image} forgets it"
                )
        # A rollback that went down to one step alone (--to): not all is as it was.
        case "restored" if result.reason:
            yield result.reason
        case "restored" | "refused":
            yield f"{image} is as it was before the run"
        case "stuck":
            yield f"growdisk status {image} says how it stands"


def before_and_after(result: Result, width: int) -> Iterator[str]:
    """Both disks drawn to one scale; one too small to read is enlarged, with a note."""
    yield from headline(result.before, width)
    largest = max(layout.image.virtual_size for layout in (result.before, result.after)) or 1
    # Nothing is in the way any more when it is done.
    for word, layout in (("before", result.before), ("after", replace(result.after, blockers=()))):
        share = layout.image.virtual_size / largest
        # Both bars share one scale, so that growth is seen. A small disk beside a large one gets
        # enough columns to be read, and then is not to scale.
        columns = max(round(width * share), min(_READABLE, width))
        enlarged = columns / (width * share) if share else 1.0
        remark = (
            f" (the bar is enlarged {enlarged:.0f} times, to be readable)" if enlarged > 1.5 else ""
        )
        yield f"{word}: {format_size(layout.image.virtual_size)}{remark}"
        yield from (*bar(layout, columns), *partition_rows(layout, width), *volumes(layout, width))


def _steps(result: Result, width: int) -> Iterator[str]:
    safe = f"each after a snapshot ({result.snapshots})"
    unsafe = "without snapshots: there is no way back"
    yield f"steps, {unsafe if result.snapshots == 'none' else safe}:"
    # 19 as in the lines of a run (progress.py); names of steps on further disks are longer.
    column = max([19, *(len(step.name) for step in result.steps)])
    for number, step in enumerate(result.steps, start=1):
        yield from wrapped(
            f"  {number}. {step.name:<{column}} {step.detail}", width, " " * (column + 6)
        )


def _texts(result: Result) -> Iterator[str]:
    """What is worth knowing of a plan, or of what was done."""
    backend = f"backend: {result.backend} ({result.backend_reason})"
    match result.result:
        case "nochange":
            yield f"nothing to do: {result.reason}"
        case "planned":
            if result.backend_reason:
                yield backend
            yield from (f"would be given up: {item}" for item in result.given_up)
            if _lost_swap(result):
                yield f"this disk would have no swap then; {_SWAP_KEPT}"
            yield from (f"note: {note}" for note in result.notes)
        case "changed":
            yield from (f"given up: {item}" for item in result.given_up)
            if _lost_swap(result):
                yield f"this disk has no swap now; {_SWAP_AGAIN}"
            for step in result.steps:
                # In full: the run's lines are cut to the terminal.
                if step.name == "repair-guest" and step.detail and step.state == "done":
                    yield f"in the guest: {step.detail}"
            yield from (f"note: {note}" for note in result.notes)
            if result.backend_reason:
                yield backend


def _lost_swap(result: Result) -> bool:
    """Whether the guest had swap on this disk and now has none, if it was not asked for."""
    before, after = (_has_swap(layout) for layout in (result.before, result.after))
    # A step of this name makes moved swap, and a swap file, which the layout does not show.
    return before and not after and not any(step.name == "remake-swap" for step in result.steps)


def _has_swap(layout: Layout) -> bool:
    contents = [
        *(part.content for part in layout.partitions),
        *(volume.content for volume in layout.volumes),
    ]
    return any(content is not None and content.kind == "swap" for content in contents)

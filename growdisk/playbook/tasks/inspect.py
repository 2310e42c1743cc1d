"""Tasks that look: show, facts, assert; and script, which writes nothing but its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from growdisk import api
from growdisk.api.live_request import target_of
from growdisk.errors import GrowdiskError, Refused, bad_value
from growdisk.fast_dataclass import asdict
from growdisk.planner.facts import Facts
from growdisk.planner.given_values import format_of, goal_of, sector_size_of
from growdisk.planner.goal import Goal
from growdisk.planner.layout import layout_of
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.planner.what_grows import choose_partition
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext, TaskResult, layout_lines
from growdisk.steps.resize_image import ResizeImage
from growdisk.units import format_size, parse_size


def _show(options: Options, context: TaskContext) -> TaskResult:
    layout = layout_of(_facts_of(options))
    return TaskResult(changed=False, message=layout_lines(layout).rstrip(), result=asdict(layout))


def _facts(options: Options, context: TaskContext) -> TaskResult:
    """Under the key that Ansible takes facts from; `growdisk run` does the same."""
    layout = asdict(layout_of(_facts_of(options)))
    message = f"{layout['image']['format']}, {format_size(layout['image']['virtual_size'])}"
    return TaskResult(
        changed=False, message=message, result={"ansible_facts": {"growdisk_disk": layout}}
    )


def _facts_of(options: Options) -> Facts:
    return api.inspect(
        target_of(options), format_of(options), sector_size_of(options), options.keys()
    )


def _script(options: Options, context: TaskContext) -> TaskResult:
    """A folder with something in it is taken for the scripts that were written before."""
    folder = options.place("dest")
    if (folder / "README.md").is_file():
        return TaskResult(
            changed=False,
            message=f"{folder} has its scripts already",
            result={"folder": str(folder)},
        )
    # In check mode they are written elsewhere, and go: a refusal comes all the same.
    with TemporaryDirectory() as elsewhere:
        place = Path(elsewhere) / "scripts" if context.check else folder
        written = api.write_scripts(target_of(options), goal_of(options), place, format_of(options))
    if written.plan is None:
        return TaskResult.nothing(f"nothing to do: {written.reason}")
    if context.check:
        return TaskResult.planned(f"scripts would be written to {folder}")
    result = {"result": "written", "folder": str(folder), "files": list(written.files)}
    return TaskResult(
        changed=True, message=f"{len(written.files)} files in {folder}", result=result
    )


def _assert(options: Options, context: TaskContext) -> TaskResult:
    facts = _facts_of(options)
    failures = [
        *_sizes(options, facts),
        *_partitions(options, facts),
        *_unfilled(options, facts),
        *_unsound(options),
    ]
    if failures:
        # All that is wrong at once, not only the first of it.
        raise Refused.named(
            "assertion-failed",
            "{path} is not as it should be",
            "{_found}",
            "growdisk show {path} draws what is there",
            {
                "path": options.place("image"),
                "found": tuple(failures),
                "_found": "; ".join(failures),
            },
        )
    return TaskResult.nothing("all as it should be")


def _sizes(options: Options, facts: Facts) -> Iterator[str]:
    size = facts.image.virtual_size
    if (wanted := _bytes(options, "size")) is not None and wanted != size:
        yield f"its virtual size is {format_size(size)} ({size} bytes), not {options.word('size')}"
    if (wanted := _bytes(options, "at_least")) is not None and wanted > size:
        yield f"its virtual size is {format_size(size)}, less than {options.word('at_least')}"


def _bytes(options: Options, name: str) -> int | None:
    """A size that something has; UsageError for one to grow by."""
    text = options.text(name)
    if not text:
        return None
    size = parse_size(text)
    if size.relative:
        problem = f"{options.task}: {name} {text} is a size to grow by"
        raise bad_value(problem, name, text, f"{name}: {text.lstrip('+')}")
    return size.bytes


def _partitions(options: Options, facts: Facts) -> Iterator[str]:
    numbers = {part.number for part in facts.table.partitions} if facts.table else set()
    for number in options.numbers("present"):
        if number not in numbers:
            yield f"there is no {facts.name_of(number)}"
    for number in options.numbers("absent"):
        if number in numbers:
            yield f"there is a {facts.name_of(number)}"
    if (wanted := _bytes(options, "filesystem_at_least")) is not None:
        number, size = _filesystem(options, facts)
        if size < wanted:
            least = options.word("filesystem_at_least")
            yield (
                f"the file system on {facts.name_of(number)} has {format_size(size)}, less than "
                f"{least}"
            )


def _filesystem(options: Options, facts: Facts) -> tuple[int, int]:
    """The partition that is meant, and the size of what is in it in bytes."""
    number = (
        0 if facts.table is None else choose_partition(facts, options.word("partition"))[1].number
    )
    content = facts.contents.get(number)
    return number, (content.size or 0) if content else 0


def _unfilled(options: Options, facts: Facts) -> Iterator[str]:
    """What an expand without a size would still do."""
    if not options.flag("filled"):
        return
    goal = Goal(partition=options.word("partition"), sector_size=sector_size_of(options))
    # GoalReached if every layer fills what is around it.
    proposal = propose(facts, goal)
    if isinstance(proposal, Proposal):
        # The step for the image is in every proposal, and does nothing without a size.
        left = [step.describe() for step in proposal.steps if not isinstance(step, ResizeImage)]
        yield f"not every layer is filled: {left[0] if left else 'some step is left'}"


def _unsound(options: Options) -> Iterator[str]:
    if not options.flag("sound"):
        return
    from growdisk.api.images.checking import check_image

    try:
        report = check_image(options.place("image"), None, format_of(options))
    except GrowdiskError:
        yield "it cannot be checked"
        return
    if report is not None and not report.is_clean:
        yield f"it has {report.corruptions} errors and {report.leaks} leaked clusters"


HANDLERS = {"show": _show, "facts": _facts, "script": _script, "assert": _assert}

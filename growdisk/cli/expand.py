"""The whole job: growdisk plan shows it, or writes it as a playbook; growdisk expand does it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

from growdisk import api
from growdisk.api.result import Result
from growdisk.cli.arguments import add_goal, goal_of, options_of
from growdisk.cli.common_options import add_flag, names_at
from growdisk.cli.output import CommandOutput
from growdisk.cli.report import print_result
from growdisk.cli.targets import target_of
from growdisk.errors import Refused, options_conflict, shell_quoted
from growdisk.fast_dataclass import replace
from growdisk.planner.goal import Goal, SwapPolicy
from growdisk.planner.option_table import SHARED
from growdisk.units import format_size


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    add_goal(parser)
    add_flag(
        parser, "--as-playbook", "print the plan as a playbook that does the same (growdisk run)"
    )


def expand_arguments(parser: argparse.ArgumentParser) -> None:
    plan_arguments(parser)
    add_flag(parser, "-n --dry-run", "the same as growdisk plan")
    add_flag(parser, "-y --yes", "ask nothing on a terminal: the defaults")


def run_plan(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.as_playbook:
        return _show_playbook(arguments, output)

    goal = goal_of(arguments)
    target, options = target_of(arguments), options_of(arguments)
    result = api.plan(target, goal, options, arguments.format)
    command = _command(arguments) if result.result == "planned" or _may_have_more(goal) else ""
    return print_result(result, output, image=Path(result.before.image.path), command=command)


def run_expand(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.dry_run or arguments.as_playbook:
        return run_plan(arguments, output)
    from growdisk.workflow.stopping import SignalsStop, StopRequest

    target, goal, options = target_of(arguments), goal_of(arguments), options_of(arguments)
    form = arguments.format
    goal = with_swap_decided(arguments, output, goal, lambda: api.plan(target, goal, options, form))
    with SignalsStop(StopRequest()) as stop, output.steps() as steps:
        result = api.expand(target, goal, options, form, steps, stop)
    more = _command_line(arguments.words) if _may_have_more(goal) else ""
    return print_result(result, output, image=Path(result.before.image.path), command=more)


def _may_have_more(goal: Goal) -> bool:
    """Whether report.py is to answer "nothing to do" with: give it more, +10G."""
    # Not if a SIZE was given, nor if a rule (--when-used) says that nothing is needed.
    return goal.size is None and goal.rule is None


def _command(arguments: argparse.Namespace) -> str:
    """The same words with expand: they carry the plan out."""
    # As typed, perhaps `expand -n`; a machine or a file may be called plan as well.
    typed = arguments.words
    verb, end = names_at(typed, arguments.parser)[0], [*typed, "--"].index("--")
    words = [
        "expand" if place == verb else word
        for place, word in enumerate(typed)
        if place > end or word not in ("-n", "--dry-run")
    ]
    return _command_line(words)


def _command_line(words: Sequence[str]) -> str:
    return " ".join(map(shell_quoted, ["growdisk", *words]))


def _show_playbook(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Print the plan as a file that does it; nothing is written anywhere."""
    from growdisk.playbook.as_playbook import playbook_of, running_playbook

    if arguments.key:
        problem = "a passphrase is not written into a playbook"
        raise options_conflict(problem, ("--as-playbook", "--key"), "give it with --key-file FILE")
    if arguments.others:
        problem = "a playbook works on one disk at a time"
        hint = "leave --as-playbook out, or --with"
        raise options_conflict(problem, ("--as-playbook", "--with"), hint)
    target, goal, options = target_of(arguments), goal_of(arguments), options_of(arguments)
    given = _as_given(arguments)
    # At rest a task a step: the disk has to be looked at. A running guest's one task plans itself.
    if isinstance(target, Path):
        text = playbook_of(target, goal, options, arguments.format, given)
    else:
        # Only what was given goes into the task; all else is decided when it is run.
        text = running_playbook(arguments.domain or str(arguments.target or arguments.qmp), given)
    output.document({"result": "planned", "playbook": text})
    output.lines(text.splitlines())
    # Said, not refused: without a kept run the playbook still does what the plan says.
    if arguments.keep_snapshots:
        output.note(
            "growdisk: a playbook keeps no snapshots when it has ended: --keep-snapshots is left "
            "out"
        )
    return 0


def _as_given(arguments: argparse.Namespace) -> dict[str, object]:
    """What the command line says as options of a task, which have the same defaults."""
    given = {"image": arguments.target} | {
        name: value
        for name, option in SHARED.items()
        if name != "keep_snapshots"
        and (value := getattr(arguments, name)) not in (option.default, "", [])
    }
    return {name: _absolute(value) for name, value in given.items() if value is not None}


def _absolute(value: object) -> object:
    """With paths in full: a playbook may be run from another folder."""
    if isinstance(value, list):
        return [_absolute(item) for item in value]
    return os.path.realpath(value) if isinstance(value, Path) else value


# On a terminal: what shall become of swap? Asked once, before anything is changed.

# The first is what Enter means, and what growdisk does by itself if it can.
_CHOICES = (
    ("drop", "its space goes to the file system; the guest has no swap then"),
    ("move", "it is made again at the end of the disk, under the same names"),
    ("file", "the guest gets a swap file of the same size instead"),
)


def with_swap_decided(
    arguments: argparse.Namespace,
    output: CommandOutput,
    goal: Goal,
    make_plan: Callable[[], Result],
) -> Goal:
    """The goal with the answer in it; `make_plan` says what would be given up.

    Nothing is asked if --swap or --yes was given, or nobody is there to answer.
    """
    if goal.swap is not None or arguments.yes or output.json_mode or output.quiet:
        return goal
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return goal
    given_up = list(_swap_given_up(make_plan()))
    if not given_up:
        return goal
    output.note(f"in the way of growth: {', '.join(given_up)}")
    answer = output.ask("what shall become of it?", _CHOICES)
    if not answer:
        raise Refused.named(
            "not-answered",
            "nothing was done",
            "the question was not answered",
            "run the same command again, or say it with --swap drop, move or file",
            {},
        )
    return replace(goal, swap=cast("SwapPolicy", answer))


def _swap_given_up(planned: Result) -> Iterator[str]:
    """Not what --delete gives up apart from it, which is not asked about."""
    for before, after in ((planned.before, planned.after), *planned.others):
        staying = {part.number for part in after.partitions}
        for part in before.partitions:
            is_swap = part.content is not None and part.content.kind == "swap"
            if is_swap and part.number not in staying:
                yield f"{part.name}: swap partition of {format_size(part.size)}"

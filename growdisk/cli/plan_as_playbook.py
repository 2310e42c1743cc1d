"""growdisk plan --as-playbook: the plan as a file that does it."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.arguments import format_of, goal_of, options_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import target_of
from growdisk.errors import options_conflict
from growdisk.fast_dataclass import replace
from growdisk.planner.option_table import SHARED
from growdisk.playbook.as_playbook import playbook_of, running_playbook


def show(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Print it; nothing is written anywhere."""
    if arguments.key:
        raise options_conflict(
            "a passphrase is not written into a playbook",
            ("--as-playbook", "--key"),
            hint="give it with --key-file FILE",
        )
    if arguments.others:
        raise options_conflict(
            "a playbook works on one disk at a time",
            ("--as-playbook", "--with"),
            hint="leave --as-playbook out, or --with",
        )
    target, goal, options = target_of(arguments), goal_of(arguments), options_of(arguments)
    # At rest each step is a task, so the disk has to be looked at. A running guest is not looked
    # at: its one task plans when it is run.
    if isinstance(target, Path):
        text = unlocking(
            arguments,
            lambda keys: playbook_of(
                target, goal, replace(options, keys=keys), arguments.key_file, format_of(arguments)
            ),
            options.keys,
        )
    else:
        # Only what was given goes into the task; all else is decided when it is run.
        text = running_playbook(
            arguments.domain or str(arguments.target or arguments.qmp), _as_given(arguments)
        )
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
    return str(value.resolve()) if isinstance(value, Path) else value

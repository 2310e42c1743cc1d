"""growdisk plan --as-playbook: the plan as a file that does it."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.arguments import format_of, goal_of, options_of
from growdisk.cli.images.keys import unlocking
from growdisk.cli.output import CommandOutput
from growdisk.cli.targets import target_of
from growdisk.errors import UsageError
from growdisk.fast_dataclass import replace
from growdisk.playbook.as_playbook import playbook_of, running_playbook

_SAME = (
    "size",
    "partition",
    "swap",
    "backend",
    "snapshots",
    "preallocation",
    "sector_size",
    "lv_share",
    "connect",
)
_INSIDE = (
    "disk", "online", "ssh", "ssh_config", "agent", "guest_disk", "allow_reboot", "domain", "qmp",
    "to_gpt", "overlays_may_break", "not_in_use",
)  # fmt: skip
_LISTS = ("grow", "move", "delete", "lv", "key_file")
# What an option has if it was not given, of whichever option: tasks have the same defaults.
_DEFAULTS = ("auto", "off", 512, "", None, False)


def show(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Print it; nothing is written anywhere."""
    if arguments.key:
        raise UsageError(
            "a passphrase is not written into a playbook", hint="give it with --key-file FILE"
        )
    if arguments.others:
        raise UsageError(
            "a playbook works on one disk at a time", hint="leave --as-playbook out, or --with"
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
    """The words of the command line as options of a task; paths count from wherever it is run."""
    options: dict[str, object] = (
        {"image": str(arguments.target.resolve())} if arguments.target else {}
    )
    for name in (*_SAME, *_INSIDE, "format"):
        value = getattr(arguments, name)
        if value not in _DEFAULTS:
            # A playbook may be run from another folder.
            options[name] = str(value.resolve()) if isinstance(value, Path) else value
    if arguments.no_guest_repair:
        options["guest_repair"] = False
    for name in _LISTS:
        if value := getattr(arguments, name):
            options[name] = [
                str(item.resolve()) if isinstance(item, Path) else item for item in value
            ]
    return options

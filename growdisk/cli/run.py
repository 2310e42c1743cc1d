"""growdisk run: a playbook, over as many images as it names."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from growdisk.cli.common_options import add_flag, add_jobs, add_list, add_value
from growdisk.cli.disk_lines import wrapped
from growdisk.cli.output import CommandOutput
from growdisk.cli.playbook_view import PlaybookView
from growdisk.errors import UsageError, bad_value
from growdisk.fast_dataclass import asdict
from growdisk.given_file import given_path
from growdisk.planner.option_table import OptionSpec
from growdisk.playbook.model import Request
from growdisk.playbook.run import resume_playbook, run_playbook
from growdisk.playbook.shipped import shipped_folder, shipped_playbooks
from growdisk.playbook.specs import TASKS
from growdisk.playbook.vars_files import extra_vars
from growdisk.suggestions import nearest


def run_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a file, or the name of a playbook that comes with growdisk"
    add_value(parser, "playbook", "PLAYBOOK", text, nargs="?")
    text = "hosts, groups and their variables, in Ansible's YAML or INI; may be given several times"
    add_list(parser, "-i --inventory", "FILE", text)
    text = "variables that beat all others; may be given several times"
    add_list(parser, "-e --extra-vars", "k=v|@FILE", text)
    add_value(parser, "-l --limit", "HOSTS", "only these hosts, groups or images (globs, !)")
    add_list(parser, "-t --tags", "TAGS", "only tasks with one of these")
    add_list(parser, "--skip-tags", "TAGS", "no tasks with one of these")
    add_flag(parser, "-C --check", "write nothing, and say what would be done")
    add_flag(parser, "-D --diff", "show each disk before and after")
    add_jobs(parser, "images at once (default: 1)", 1)
    which = parser.add_mutually_exclusive_group()
    add_flag(which, "--resume", "go on with a run of PLAYBOOK that was cut short")
    add_flag(which, "--undo", "take back a run of PLAYBOOK that was cut short")
    add_flag(which, "--tasks", "list the tasks that a playbook can have, and their options")
    # Read from the folder when the parser is made, so that what is installed is what is named.
    parser.epilog = (
        f"Playbooks that come with growdisk: {', '.join(shipped_playbooks())}; each says at its "
        f"top when to use it (they lie in {shipped_folder()}). Exit code: that of the worst host."
    )


def run_run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.tasks:
        output.document([{**asdict(task), "name": task.qualified} for task in TASKS.values()])
        output.lines(_task_lines(output.width))
        return 0
    if arguments.playbook is None:
        raise UsageError("no playbook is named", hint=f"name {_nearest('', shipped_playbooks())}")
    # An empty word, as of a script's unset variable, would mean all hosts, or all tasks.
    for option, words in (("--limit", arguments.limit), *(("--tags", t) for t in arguments.tags)):
        if words is not None and not words.strip(", "):
            raise bad_value(f"{option} names nothing", option, words, hint="leave it out for all")
    path = _found(arguments.playbook)
    if arguments.resume or arguments.undo:
        # The record of that run has hosts, variables and tags; of options only -j counts.
        action = partial(resume_playbook, path, jobs=arguments.jobs, undo=arguments.undo)
    else:
        action = partial(run_playbook, _request(arguments, path))
    with PlaybookView(
        output, verbose=arguments.verbose, check=arguments.check, diff=arguments.diff
    ) as view:
        ended = action(view.listener)
    return view.summed_up(ended)


def _request(arguments: argparse.Namespace, path: Path) -> Request:
    return Request(
        path,
        tuple(arguments.inventory),
        extra_vars(arguments.extra_vars),
        arguments.limit or "",
        frozenset(_words(arguments.tags)),
        frozenset(_words(arguments.skip_tags)),
        arguments.check,
        arguments.diff,
        arguments.jobs,
    )


def _words(given: list[str]) -> Iterator[str]:
    # -t a,b and -t a -t b are the same, as with Ansible.
    return (word.strip() for text in given for word in text.split(",") if word.strip())


def _found(name: str) -> Path:
    """A file; or a shipped playbook by its name."""
    path = given_path(name)
    # A word with a slash is meant as a path: if there is none, that is the error to show.
    if path.exists() or "/" in name:
        return path
    known = shipped_playbooks()
    if (short := name.removesuffix(".yml")) in known:
        return shipped_folder() / f"{short}.yml"
    raise UsageError.named(
        "unknown-playbook",
        "there is no playbook {playbook}",
        "",
        "{hint}",
        {"playbook": name, "known": tuple(known), "hint": _nearest(name, known)},
    )


def _nearest(name: str, known: list[str]) -> str:
    near = nearest(name.removesuffix(".yml"), known)
    guess = f"did you mean {near}? " if near else ""
    return (
        f"{guess}a file of yours, or one that comes with growdisk: "
        f"{', '.join(known) or 'none is installed'}"
    )


def _task_lines(width: int) -> Iterator[str]:
    for task in TASKS.values():
        yield task.qualified
        yield from wrapped(f"  {task.description}", width, "  ")
        for option in task.options:
            words = f"    {option.name}{_kind(option)}: {option.description}"
            yield from wrapped(words, width, "        ")


def _kind(option: OptionSpec) -> str:
    facts: list[str] = [option.type]
    if option.required:
        facts.append("required")
    if option.choices:
        facts.append("|".join(option.choices))
    if option.default is not None:
        is_flag = isinstance(option.default, bool)
        facts.append(f"default {str(option.default).lower() if is_flag else option.default}")
    return f" ({', '.join(facts)})"

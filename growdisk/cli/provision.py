"""growdisk provision: a base image in, ready images out, before their first boot.

Options take precedence over a recipe file.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

from growdisk import api
from growdisk.api.provisioning.recipe import (
    FileInto,
    KeysFor,
    Output,
    PasswordFor,
    Recipe,
    Seed,
    as_template,
    counted,
)
from growdisk.api.provisioning.result import Provisioned, ProvisionReport, provision_document
from growdisk.cli.common_options import add_flag, add_jobs, add_list, add_value, named_path
from growdisk.cli.config import is_typed
from growdisk.cli.declaring import declare, help_of
from growdisk.cli.keys import add_key, keys_of
from growdisk.cli.output import CommandOutput
from growdisk.cli.progress import Spinner
from growdisk.error_document import error_document
from growdisk.errors import UsageError, bad_value, options_conflict
from growdisk.fast_dataclass import replace
from growdisk.given_file import given_path
from growdisk.planner.option_table import CONVERTING, FORMAT, PROVISIONING
from growdisk.units import format_size, parse_goal_size
from growdisk.workflow.stopping import SignalsStop, StopRequest

_USER = r"[a-z_][a-z0-9_.-]*\$?"
_COPY = "SRC:DEST[:MODE[:OWNER[:GROUP]]]"
# What an option that was given replaces in the recipe, by the same name.
_REPLACED = (
    "overlay", "format", "compress", "compression", "base_format", "partition", "swap", "backend",
    "reproducible", "reset_machine_id", "remove_ssh_host_keys", "new_ssh_host_keys",
)  # fmt: skip


def provision_arguments(parser: argparse.ArgumentParser) -> None:
    base = help_of(PROVISIONING["base"], "it may be shared")
    parser.add_argument("base", type=Path, metavar="BASE", help=base)
    add_value(
        parser, "out", "OUT", "the new image; with --count a pattern: web-{n:02}.qcow2", nargs="?"
    )
    _add_making(parser)
    many = parser.add_argument_group("many outputs of one base")
    many.add_argument("--count", type=int, metavar="N", help="N outputs, numbered from 1")
    add_value(many, "--list", "FILE", "CSV or YAML: name, size, variables", type=Path)
    add_jobs(many, "how many are made at once (default: 1)", 1)
    _add_customizing(parser)


def run_provision(arguments: argparse.Namespace, output: CommandOutput) -> int:
    recipe, own = _recipe_of(arguments)
    outputs = _outputs(arguments, own)
    with SignalsStop(StopRequest()) as stop, output.working() as working:
        report = api.provision(
            arguments.base,
            outputs,
            recipe,
            force=arguments.force,
            jobs=arguments.jobs,
            dry_run=arguments.dry_run,
            watcher=_Lines(output, working),
            stop=stop,
        )
    return _print_report(report, output)


def _outputs(arguments: argparse.Namespace, own: Sequence[Output]) -> Sequence[Output]:
    """By OUT, by a list, or by the recipe itself. UsageError if they contradict each other."""
    if arguments.list is not None:
        if arguments.out is not None or arguments.count is not None:
            problem = "--list names the outputs: OUT and --count would as well"
            raise options_conflict(problem, ("--list", "--count"), "leave them out")
        from growdisk.api.provisioning.recipe_file import read_output_list

        return read_output_list(arguments.list)
    if arguments.out is None:
        if arguments.count is not None:
            hint = "growdisk provision BASE 'web-{n}.qcow2' …"
            raise UsageError("--count needs a name for the outputs", hint)
        return own
    return counted(arguments.out, 1 if arguments.count is None else arguments.count)


def _add_making(parser: argparse.ArgumentParser) -> None:
    # No defaults: what is not given is left to the recipe file (recipe_of).
    declare(parser, PROVISIONING["size"], metavar="SIZE")
    declare(parser, PROVISIONING["recipe"], type=named_path, metavar="FILE")
    declare(parser, PROVISIONING["overlay"])
    declare(parser, PROVISIONING["format"], "-O")
    declare(parser, CONVERTING["compress"])
    declare(parser, CONVERTING["compression"], more="--compress alone: zlib")
    text = "the format of BASE (default: probed)"
    parser.add_argument("-f", "--base-format", choices=FORMAT.choices, help=text)
    add_value(parser, "--partition", "N", "which partition grows (default: the root)")
    declare(parser, "swap")
    add_key(parser, "a passphrase of what is encrypted in BASE and grows (all bytes of FILE)")
    declare(parser, "backend", default=None)
    add_flag(
        parser,
        "--reproducible",
        "the same inputs give the same bytes, at the time of SOURCE_DATE_EPOCH, or that of "
        "the base",
    )
    declare(parser, PROVISIONING["force"])
    add_flag(parser, "-n --dry-run", "look and plan, and leave nothing behind")


def _add_customizing(parser: argparse.ArgumentParser) -> None:
    inside = parser.add_argument_group(
        "inside the guest; texts may name {n}, {name}, and {{ variables }}"
    )
    files = "in /etc/hostname and /etc/hosts"
    declare(inside, PROVISIONING["hostname"], metavar="NAME", more=files)
    add_flag(inside, "--reset-machine-id", "the first boot makes a new machine-id")
    add_flag(inside, "--remove-ssh-host-keys", "the first boot makes new ones")
    add_flag(inside, "--new-ssh-host-keys", "they are made here instead, and shown")
    add_list(inside, "--ssh-key", "[USER:]FILE", "a public key that may log in (root)")
    text = "file:FILE (first line, hashed here), hash:HASH (ready), or locked"
    add_list(inside, "--password", "USER:HOW", text)
    add_list(inside, "--copy", _COPY, "a file, as it is (0644, root)")
    add_list(inside, "--template", _COPY, "the same, filled in (jinja2)")
    text = "a shell command as root in the guest's own tree; no network"
    add_list(inside, "--run", "COMMAND", text, dest="commands_inside")
    add_list(inside, "-e", "NAME=VALUE", "a variable", dest="variables")
    add_flag(inside, "--seed", "a NoCloud seed for cloud-init beside OUT: OUT-seed.iso")
    for name in ("user-data", "meta-data", "network-config"):
        add_value(inside, f"--{name}", "FILE", f"{name} of the seed", type=named_path)


def _recipe_of(arguments: argparse.Namespace) -> tuple[Recipe, Sequence[Output]]:
    """The recipe, and the outputs that a recipe file names itself."""
    recipe, outputs = Recipe(), tuple[Output, ...]()
    if arguments.recipe is not None:
        from growdisk.api.provisioning.recipe_file import load_recipe

        file = load_recipe(arguments.recipe)
        recipe, outputs = file.recipe, file.outputs
    # A flag that is not set says nothing: it cannot switch off what the recipe file switches on.
    silent = Recipe()
    given = {
        name: value
        for name in _REPLACED
        if (value := getattr(arguments, name))
        and (is_typed(arguments, name) or getattr(recipe, name) == getattr(silent, name))
    }
    if arguments.size is not None:
        given["size"] = parse_goal_size(arguments.size)
    if arguments.hostname is not None:
        given["hostname"] = as_template(arguments.hostname)
    if (epoch := os.environ.get("SOURCE_DATE_EPOCH", "")).isdecimal():
        given["epoch"] = int(epoch)
    if (seed := _seed(arguments)) is not None:
        given["seed"] = seed
    return replace(
        recipe,
        **given,
        # Lists are added to the recipe's, never put in their place.
        authorized_keys=(*recipe.authorized_keys, *map(_keys, arguments.ssh_key)),
        passwords=(*recipe.passwords, *map(_password, arguments.password)),
        files=(
            *recipe.files,
            *(_file(word) for word in arguments.copy),
            *(_file(word, template=True) for word in arguments.template),
        ),
        commands=(*recipe.commands, *arguments.commands_inside),
        keys=keys_of(arguments),
        variables={**recipe.variables, **dict(map(_variable, arguments.variables))},
    ), outputs


def _keys(word: str) -> KeysFor:
    user, colon, file = word.partition(":")
    if not colon or not re.fullmatch(_USER, user):
        # A colon may belong to the file's name: then a user's name does not stand before it.
        user, file = "root", word
    return KeysFor.in_file(user, Path(file))


def _password(word: str) -> PasswordFor:
    """The clear text itself is not accepted: every user of this machine could read it."""
    user, _, rest = word.partition(":")
    how, _, value = rest.partition(":")
    if re.fullmatch(_USER, user) and how == "file" and value:
        return PasswordFor.in_file(user, Path(value))
    if re.fullmatch(_USER, user) and how == "hash" and value:
        return PasswordFor(user, hashed=value)
    if re.fullmatch(_USER, user) and rest == "locked":
        # In shadow(5) no password has this hash.
        return PasswordFor(user, hashed="!")
    raise UsageError(
        "--password takes USER:file:FILE, USER:hash:HASH or USER:locked",
        hint="put the password into a file: on a command line every user of this machine could "
        "read it",
    )


def _file(word: str, *, template: bool = False) -> FileInto:
    # Left out or empty (SRC:DEST::OWNER) means the default; so no path can have a colon.
    source, *rest = word.split(":")
    path, mode, owner, group = (*rest, *[""] * (4 - len(rest)))[:4]
    if not source or not path or len(rest) > 4 or not re.fullmatch(r"[0-7]{0,4}", mode):
        option = "--template" if template else "--copy"
        problem = f"cannot read '{word}'"
        raise bad_value(problem, option, word, f"write {_COPY}, such as motd:/etc/motd:0644")
    bits = int(mode or "644", 8)
    return FileInto(path, given_path(source), "", template, bits, owner or "root", group)


def _variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise bad_value(f"cannot read -e {word}", "-e", word, hint="write -e NAME=VALUE")
    return name, value


def _seed(arguments: argparse.Namespace) -> Seed | None:
    files = (arguments.user_data, arguments.meta_data, arguments.network_config)
    return Seed(*files) if arguments.seed or any(files) else None


class _Lines:
    """The watcher of a call: a note when an output is done. Outputs may end at the same time."""

    def __init__(self, output: CommandOutput, working: Spinner | None) -> None:
        self._output, self._working, self._lock = output, working, Lock()

    def output_started(self, path: Path) -> None:
        if self._working:
            self._working.begins(f"making {path.name}")

    def output_ended(self, output: Provisioned) -> None:
        if self._working:
            self._working.ends(f"making {output.path.name}")
        sign = "!" if output.error else "+"
        with self._lock:
            line = f" {sign} {output.path}  {output.result}  {output.seconds:.1f} s"
            # Nothing moves (a pipe, or the first second): then it is an ordinary note.
            if not (self._working and self._working.say(line)):
                self._output.note(line)


def _print_report(report: ProvisionReport, output: CommandOutput) -> int:
    """Show how it ended; returns the exit code."""
    output.document(provision_document(report))
    for failed in report.failed:
        # The message says already which output it is about.
        if failed.error is not None and str(failed.path) in failed.error.what:
            output.error(failed.error)
        elif failed.error is not None:
            output.failure(str(failed.path), error_document(failed.error))
    made = (one for one in report.outputs if one.error is None)
    output.lines(line for one in made for line in _output_lines(one))
    return report.exit_code


def _output_lines(made: Provisioned) -> Iterator[str]:
    assert made.layout is not None
    image = made.layout.image
    host = f", {format_size(made.actual_size)} on the host" if made.result == "created" else ""
    yield f"{made.path}: {image.format}, {format_size(image.virtual_size)}{host}"
    for line in made.customized:
        yield f"  {line}"
    for item in made.given_up:
        yield f"  {'would be ' if made.result == 'planned' else ''}given up: {item}"
    if made.seed is not None:
        yield f"  cloud-init's seed: {made.seed}"
    if made.growpart not in ("", "nothing"):
        yield f"  left for cloud-init's growpart: {made.growpart}"
    for note in made.notes:
        yield f"  note: {note}"

"""growdisk provision's options and their recipe; options take precedence over a recipe file."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from growdisk.api.provisioning.recipe import FileInto, KeysFor, Output, PasswordFor, Recipe, Seed
from growdisk.cli.common_options import named_path
from growdisk.cli.declaring import declare
from growdisk.cli.images.keys import add_key, read_key
from growdisk.errors import UsageError, bad_value
from growdisk.fast_dataclass import replace
from growdisk.planner.option_table import CONVERTING, FORMAT, PROVISIONING
from growdisk.units import parse_goal_size

_USER = re.compile(r"[a-z_][a-z0-9_.-]*\$?")
_COPY = "SRC:DEST[:MODE[:OWNER[:GROUP]]]"
# What an option that was given replaces in the recipe, by the same name.
_REPLACED = (
    "overlay", "format", "compress", "compression", "base_format", "partition", "swap", "backend",
    "reproducible", "reset_machine_id", "remove_ssh_host_keys", "new_ssh_host_keys",
)  # fmt: skip


def add_making(parser: argparse.ArgumentParser) -> None:
    # No defaults: what is not given is left to the recipe file (recipe_of).
    declare(parser, PROVISIONING["size"], metavar="SIZE")
    declare(parser, PROVISIONING["recipe"], type=named_path, metavar="FILE")
    declare(parser, PROVISIONING["overlay"])
    declare(parser, PROVISIONING["format"], "-O")
    declare(parser, CONVERTING["compress"])
    declare(parser, CONVERTING["compression"], more="--compress alone: zlib")
    parser.add_argument(
        "-f", "--base-format", choices=FORMAT.choices, help="the format of BASE (default: probed)"
    )
    parser.add_argument(
        "--partition", metavar="N", help="which partition grows (default: the root)"
    )
    declare(parser, "swap")
    add_key(parser, "a passphrase of what is encrypted in BASE and grows (all bytes of FILE)")
    declare(parser, "backend", default=None)
    parser.add_argument(
        "--reproducible",
        action="store_true",
        help="the same inputs give the same bytes, at the time of SOURCE_DATE_EPOCH, or that of "
        "the base",
    )
    declare(parser, PROVISIONING["force"])
    parser.add_argument("-n", "--dry-run", action="store_true", help="look and plan, write nothing")


def add_customizing(parser: argparse.ArgumentParser) -> None:
    inside = parser.add_argument_group(
        "inside the guest; texts may name {n}, {name}, and {{ variables }}"
    )
    files = "in /etc/hostname and /etc/hosts"
    declare(inside, PROVISIONING["hostname"], metavar="NAME", more=files)
    inside.add_argument(
        "--reset-machine-id", action="store_true", help="the first boot makes a new machine-id"
    )
    inside.add_argument(
        "--remove-ssh-host-keys", action="store_true", help="the first boot makes new ones"
    )
    inside.add_argument(
        "--new-ssh-host-keys", action="store_true", help="they are made here instead, and shown"
    )
    inside.add_argument(
        "--ssh-key",
        action="append",
        default=[],
        metavar="[USER:]FILE",
        help="a public key that may log in (root)",
    )
    inside.add_argument(
        "--password",
        action="append",
        default=[],
        metavar="USER:HOW",
        help="file:FILE (first line, hashed here), hash:HASH (ready), or locked",
    )
    inside.add_argument(
        "--copy", action="append", default=[], metavar=_COPY, help="a file, as it is (0644, root)"
    )
    inside.add_argument(
        "--template",
        action="append",
        default=[],
        metavar=_COPY,
        help="the same, filled in (jinja2)",
    )
    inside.add_argument(
        "--run",
        dest="commands_inside",
        action="append",
        default=[],
        metavar="COMMAND",
        help="a shell command as root in the guest's own tree; no network",
    )
    inside.add_argument(
        "-e", dest="variables", action="append", default=[], metavar="NAME=VALUE", help="a variable"
    )
    inside.add_argument(
        "--seed", action="store_true", help="a NoCloud seed for cloud-init beside OUT: OUT-seed.iso"
    )
    for name in ("user-data", "meta-data", "network-config"):
        inside.add_argument(
            f"--{name}", type=named_path, metavar="FILE", help=f"{name} of the seed"
        )


def recipe_of(arguments: argparse.Namespace) -> tuple[Recipe, Sequence[Output]]:
    """The recipe, and the outputs that a recipe file names itself."""
    from growdisk.api.provisioning.output_lists import as_template

    recipe, outputs = Recipe(), tuple[Output, ...]()
    if arguments.recipe is not None:
        from growdisk.api.provisioning.recipe_file import load_recipe

        file = load_recipe(arguments.recipe)
        recipe, outputs = file.recipe, file.outputs
    # A flag that is not set says nothing: it cannot switch off what the recipe file switches on.
    given = {name: value for name in _REPLACED if (value := getattr(arguments, name))}
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
        keys=tuple(map(read_key, arguments.key_file)),
        variables={**recipe.variables, **dict(map(_variable, arguments.variables))},
    ), outputs


def _keys(word: str) -> KeysFor:
    user, colon, file = word.partition(":")
    if not colon or not _USER.fullmatch(user):
        # A colon may belong to the file's name: then a user's name does not stand before it.
        user, file = "root", word
    return KeysFor.in_file(user, Path(file))


def _password(word: str) -> PasswordFor:
    """The clear text itself is not accepted: every user of this machine could read it."""
    user, _, rest = word.partition(":")
    how, _, value = rest.partition(":")
    if _USER.fullmatch(user) and how == "file" and value:
        return PasswordFor.in_file(user, Path(value))
    if _USER.fullmatch(user) and how == "hash" and value:
        return PasswordFor(user, hashed=value)
    if _USER.fullmatch(user) and rest == "locked":
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
        option = "--copy-in-template" if template else "--copy-in"
        raise bad_value(
            f"cannot read '{word}'",
            option,
            word,
            hint=f"write {_COPY}, such as motd:/etc/motd:0644",
        )
    bits = int(mode or "644", 8)
    return FileInto(path, Path(source).expanduser(), "", template, bits, owner or "root", group)


def _variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name.isidentifier():
        raise bad_value(f"cannot read -e {word}", "-e", word, hint="write -e NAME=VALUE")
    return name, value


def _seed(arguments: argparse.Namespace) -> Seed | None:
    files = (arguments.user_data, arguments.meta_data, arguments.network_config)
    return Seed(*files) if arguments.seed or any(files) else None

"""What other programs get of growdisk: a shell its completion, Ansible its collection."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from growdisk.cli.common_options import add_value, named_path
from growdisk.cli.output import CommandOutput
from growdisk.cli.parser import whole_parser
from growdisk.errors import not_created
from growdisk.given_file import given_path

_COLLECTIONS = "~/.ansible/collections"
_SHELLS = ("bash", "zsh", "fish")
_LIST = "virsh -q list --all --name 2>/dev/null"
# fish needs none: it runs the command where the words are needed.
_PREAMBLE = {
    "bash": f'_growdisk_domains() {{ compgen -W "$({_LIST})" -- "$1"; }}',
    "zsh": f'_growdisk_domains() {{ compadd -- ${{(f)"$({_LIST})"}} }}',
}
_DOMAINS = {"bash": "_growdisk_domains", "zsh": "_growdisk_domains", "fish": f"({_LIST})"}


def completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, help="which shell")


def run_completion(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Print what a shell needs to complete commands, options, files and machines."""
    import shtab

    parser = whole_parser()
    for action in _actions(parser):
        _teach(action, shtab)
    script = shtab.complete(parser, arguments.shell, preamble=_PREAMBLE)  # type: ignore[arg-type]  # it takes a text for each shell
    output.document({"shell": arguments.shell, "script": script})
    output.lines(script.splitlines())
    return 0


def _teach(action: argparse.Action, shtab: object) -> None:
    """Say what the values of an argument are, if that is not a list of words."""
    # shtab reads the attribute `complete` of an action; not all paths have the type Path.
    if action.dest == "domain":
        action.complete = _DOMAINS  # type: ignore[attr-defined]
    elif action.type is Path or action.dest in (
        "ssh_key",
        "key_file",
        "new_key_file",
        "playbook",
        "inventory",
    ):
        folder = action.metavar == "DIR"
        action.complete = getattr(shtab, "DIRECTORY" if folder else "FILE")  # type: ignore[attr-defined]


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of the commands in it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            # Commands of commands too: growdisk image has verbs.
            for sub in action.choices.values():
                yield from _actions(sub)
        else:
            yield action


def install_arguments(parser: argparse.ArgumentParser) -> None:
    text = f"a folder of ANSIBLE_COLLECTIONS_PATH (default: {_COLLECTIONS}, where ansible looks "
    text += "by itself)"
    path = Path(_COLLECTIONS)
    add_value(parser, "-p --collections-path", "DIR", text, type=named_path, default=path)


def run_install(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Install growdisk.disk for ansible-playbook."""
    from growdisk.playbook.shipped import install_collection

    folder = given_path(arguments.collections_path)
    try:
        installed = install_collection(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another folder with -p, or check its permissions"
        raise not_created(folder, reason, hint) from error
    output.document({"collection": "growdisk.disk", "path": str(installed)})
    output.lines(
        [f"growdisk.disk is installed in {installed}", "try: ansible-doc growdisk.disk.expand"]
    )
    return 0

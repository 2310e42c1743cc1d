"""growdisk collection: installs the Ansible collection growdisk.disk for ansible-playbook."""

from __future__ import annotations

import argparse
from pathlib import Path

from growdisk.cli.common_options import add_common, named_path
from growdisk.cli.output import CommandOutput
from growdisk.errors import not_created

NAME = "collection"
HELP = "install the Ansible collection growdisk.disk"
_DEFAULT = "~/.ansible/collections"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(prog=parser.prog, metavar="VERB", required=True, dest="verb")
    install = verbs.add_parser(
        "install", help="copy it to a folder where ansible looks", allow_abbrev=False
    )
    add_common(install, top=False)
    install.add_argument(
        "-p",
        "--collections-path",
        type=named_path,
        default=Path(_DEFAULT),
        metavar="DIR",
        help=f"a folder of ANSIBLE_COLLECTIONS_PATH (default: {_DEFAULT}, where ansible looks by "
        "itself)",
    )


def run(arguments: argparse.Namespace, output: CommandOutput) -> int:
    from growdisk.playbook.shipped import install_collection

    folder = arguments.collections_path.expanduser()
    try:
        installed = install_collection(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise not_created(
            folder, reason, "choose another folder with -p, or check its permissions"
        ) from error
    output.document({"collection": "growdisk.disk", "path": str(installed)})
    output.lines(
        [f"growdisk.disk is installed in {installed}", "try: ansible-doc growdisk.disk.expand"]
    )
    return 0

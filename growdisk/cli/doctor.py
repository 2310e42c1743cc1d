"""growdisk doctor: what this machine has, what really works, and what to install."""

from __future__ import annotations

import argparse

from growdisk.cli.output import Output

NAME = "doctor"
HELP = "say what works on this machine and what to install"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="do not launch the appliance")


def run(arguments: argparse.Namespace, output: Output) -> int:
    raise NotImplementedError

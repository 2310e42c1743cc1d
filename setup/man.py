"""Writes the man pages of growdisk and of each of its commands: setup/man.py FOLDER.

Made from the parser itself by argparse-manpage, with the examples that --help shows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from argparse_manpage.manpage import Manpage

from growdisk import __version__
from growdisk.cli.common_options import add_common
from growdisk.cli.examples import EXAMPLES
from growdisk.cli.parser import whole_parser

_EXIT_STATUS = """\
.TP
.B 0
Done, or there was nothing to do.
.TP
.B 1
growdisk has a bug, or its answer could not be written.
.TP
.B 2
The command line cannot be understood.
.TP
.B 3
Refused. Nothing was touched.
.TP
.B 4
It failed, and everything is back as it was.
.TP
.B 5
A person is needed: growdisk can neither finish nor go back alone.
.TP
.B 130
Stopped by Ctrl-C before anything was done.
.PP
\\fBgrowdisk image check\\fR is the exception, as qemu\\-img:
0 sound, 1 could not check, 2 corrupt, 3 leaked clusters.
\\fBgrowdisk image compare\\fR: 0 the same, 1 different."""
_FILES = """\
.TP
.I IMAGE.growdisk/
The journal and the snapshots' files of an unfinished or kept run, beside the image.
.TP
.I $XDG_CACHE_HOME/growdisk
What growdisk found out about this machine. It may be removed."""
_ENVIRONMENT = """\
.TP
.B XDG_CACHE_HOME, XDG_STATE_HOME
Where caches and the journals of playbooks lie; by default ~/.cache and ~/.local/state.
.TP
.B NO_COLOR
Set: no colours.
.TP
.B SOURCE_DATE_EPOCH
The time that growdisk provision \\-\\-reproducible writes."""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-").replace("'", "\\(aq")


def _examples(prog: str) -> str:
    return "\n".join(f".TP\n.B {_escaped(line)}\n{_escaped(what)}" for line, what in EXAMPLES[prog])


def page(parser: argparse.ArgumentParser, commands: list[str]) -> str:
    """The man page of one command, in troff's man macros."""
    parser.format_help = lambda: argparse.ArgumentParser.format_help(parser)  # type: ignore[method-assign]
    manual = Manpage(parser, format="single-commands-section")
    manual.source, manual.manual = f"growdisk {__version__}", "growdisk"
    manual.description = (parser.description or "").rstrip(".")
    manual.prog = parser.prog.replace(" ", "-")
    text = str(manual).rstrip()
    also = ", ".join(f"\\fBgrowdisk\\-{name}\\fR(1)" for name in commands)
    sections = {
        "EXAMPLES": _examples(parser.prog), "EXIT STATUS": _EXIT_STATUS, "FILES": _FILES,
        "ENVIRONMENT": _ENVIRONMENT, "SEE ALSO": f"\\fBgrowdisk\\fR(1), {also}",
    }  # fmt: skip
    return "\n".join([text, *(f".SH {name}\n{body}" for name, body in sections.items())]) + "\n"


def _overview(
    parser: argparse.ArgumentParser, commands: dict[str, argparse.ArgumentParser]
) -> argparse.ArgumentParser:
    """growdisk itself: its commands by name alone, for each has a page of its own."""
    top = argparse.ArgumentParser(prog=parser.prog, description=parser.description)
    add_common(top, top=True)
    verbs = top.add_subparsers(title="commands", prog=parser.prog, metavar="COMMAND")
    for name, command in commands.items():
        verbs.add_parser(
            name,
            description=command.description,
            usage=f"{command.prog} [options] ...",
            add_help=False,
        )
    return top


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parser = whole_parser()
    commands = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ).choices
    names = list(commands)
    for name, command in commands.items():
        (folder / f"growdisk-{name}.1").write_text(
            page(command, [other for other in names if other != name])
        )
    (folder / "growdisk.1").write_text(page(_overview(parser, commands), names))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

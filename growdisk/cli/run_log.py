"""Who did what when (--log FILE, --syslog): one line for each command that was asked to be logged.

    2026-11-28T15:04:05+0000 root(alice) growdisk[4711] expand guest.qcow2 +10G: exit 0, 1.2 s

Passphrases that stand on the command line (--key) are left out.
"""

from __future__ import annotations

import os
import pwd
import shlex
import syslog as system_log
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from growdisk.given_file import refuse_to_replace, unwritable

_SECRET = "--key"


def line(words: Sequence[str], code: int, seconds: float) -> str:
    """The line without its time: who, process, command line, exit code, seconds."""
    shown = " ".join(shlex.quote(word) for word in _without_secrets(words))
    text = f"{_who()} growdisk[{os.getpid()}] {shown}: exit {code}, {seconds:.1f} s"
    # A name with a line break could forge a whole line; one may have bytes that are not UTF-8.
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def opened_log(file: Path) -> TextIO:
    """The file to append to, before anything is done: UsageError if it cannot be written."""
    refuse_to_replace(file, "--log")
    try:
        # O_NONBLOCK: open() of a pipe that nobody reads fails with ENXIO, and does not wait.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        return os.fdopen(os.open(file, flags, 0o666), "a", encoding="utf-8")
    except OSError as error:
        raise unwritable(file, "--log", error) from error


def log(text: str, file: TextIO | None, *, syslog: bool) -> None:
    """Append `text` to `file`, and hand it to syslog (journald reads that too). OSError."""
    if syslog:
        system_log.openlog("growdisk", 0, system_log.LOG_DAEMON)
        system_log.syslog(system_log.LOG_NOTICE, text)
    if file is not None:
        with file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")


def _who() -> str:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    user = os.environ.get("SUDO_USER")
    return f"{name}({user})" if user else name


def _without_secrets(words: Sequence[str]) -> Iterator[str]:
    # --key SECRET and --key=SECRET; the parsers take no abbreviation (--ke).
    hide = False
    for word in words:
        name, equals, _ = word.partition("=")
        yield "***" if hide else f"{name}=***" if equals and name == _SECRET else word
        hide = word == _SECRET

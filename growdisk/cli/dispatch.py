"""Runs the command that a command line asks for, and shows errors the way the caller wants them."""

from __future__ import annotations

import argparse
import errno
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from growdisk.cli.common_options import names_at
from growdisk.cli.output import CommandOutput, prepare_streams, printable
from growdisk.cli.parser import TextAsked, own_words, parsed, top_parser
from growdisk.error_document import error_document
from growdisk.errors import (
    GrowdiskError,
    ImageDamaged,
    ImageNotReadable,
    KeyNeeded,
    OperationFailed,
    ReferenceOutside,
    Refused,
    UsageError,
    WrongKey,
    bad_value,
    error_id,
)

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import TextIO

    from growdisk.cli.progress import EventLines

_BUG, _INTERRUPTED = 1, 130
_STDERR = 2
# Whose exit codes are qemu-img's: that of an error, as 2 and 3 mean something else.
_COULD_NOT = {"image check": 1, "image compare": 2}
_READING = ("show", "list", "plan", "status", "doctor", "image info", "image map", "image compare")
_BAD_NAMES = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)


def dispatch(words: Sequence[str]) -> int:
    """Run the command in `words`; any error becomes a message, or JSON, and an exit code."""
    prepare_streams()
    # What growdisk makes it must be able to read again itself.
    os.umask(os.umask(0o077) & 0o077)
    # First: --json may be among the words that are replaced (--output json).
    words = own_words(words)
    # For errors of the command line itself, before the parser has said whether --json is there.
    output = CommandOutput(
        json_mode="--json" in itertools.takewhile(lambda word: word != "--", words)
    )
    logged = _LogLine(words)
    code = _BUG
    try:
        code = _delivered(words, output, logged)
    finally:
        # Last of all: only now the exit code is known.
        lost = logged.end(code)
    if lost:
        output.complain(lost)
    return code or (_BUG if lost else 0)


def _delivered(words: Sequence[str], output: CommandOutput, logged: _LogLine) -> int:
    """The exit code, once the answer has left this process."""
    code = _answer(words, output, logged)
    # `growdisk list | head` is fine. A full disk is not: half an answer must not end with 0.
    if lost := output.finish():
        output.complain(lost)
        return code or _BUG
    return code


class _LogLine:
    """The line of --log and --syslog, if it was asked for."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._started: float | None = None
        self._file: TextIO | None = None
        self._syslog = False

    def begin(self, arguments: argparse.Namespace) -> None:
        """From here on there will be a line, however the command ends. UsageError: --log DISK."""
        if arguments.log is None and not arguments.syslog:
            return
        from growdisk.cli.run_log import opened_log

        if arguments.log is not None:
            self._file = opened_log(arguments.log)
        self._syslog, self._started = arguments.syslog, time.monotonic()

    def end(self, code: int) -> str:
        """Write the line; why that failed, or ""."""
        if self._started is None:
            return ""
        from growdisk.cli.run_log import line, log

        text = line(self._words, code, time.monotonic() - self._started)
        try:
            log(text, self._file, syslog=self._syslog)
        except OSError as error:
            return f"cannot write the log: {error.strerror}; the command itself has ended"
        return ""


def _answer(words: Sequence[str], output: CommandOutput, logged: _LogLine) -> int:
    try:
        return _run_or_name(words, output, logged)
    # Help is an answer, not an error: stdout, and exit code 0.
    except TextAsked as asked:
        output.lines(str(asked).splitlines())
        output.document({"text": str(asked)})
        return 0
    except GrowdiskError as error:
        if error_id(error) == "no-command" and not output.json_mode:
            output.note(top_parser().format_help())
        _advise(error)
        output.error(error)
        # Both have touched nothing.
        refused = {"result": "refused"} if isinstance(error, (Refused, UsageError)) else {}
        code = _code_of(error, words)
        output.document({**refused, "error": error_document(error) | {"code": code}})
        return code
    except KeyboardInterrupt:
        output.complain("stopped by Ctrl-C")
        output.document({"error": _unplanned("interrupted", "interrupted", "", "", _INTERRUPTED)})
        return _INTERRUPTED
    except Exception as bug:
        import traceback

        traceback.print_exc()
        output.document(
            {"error": _unplanned("bug", "growdisk has a bug", repr(bug), "report it", _BUG)}
        )
        return _BUG


def _code_of(error: GrowdiskError, words: Sequence[str]) -> int:
    """The error's exit code, unless the command has codes of its own."""
    return _COULD_NOT.get(_command_in(words), error.exit_code)


def _command_in(words: Sequence[str]) -> str:
    """plan, image check."""
    named = [words[place] for place in names_at(words)]
    return " ".join(named[: 1 + (named[:1] == ["image"])])


def _unplanned(name: str, what: str, why: str, cure: str, code: int) -> dict[str, object]:
    """The document of an end that no class of errors stands for."""
    return {"id": name, "what": what, "why": why, "do": cure, "code": code, "data": {}}


def _run_or_name(words: Sequence[str], output: CommandOutput, logged: _LogLine) -> int:
    """A name that leads nowhere is an error with words, whichever code looks at it first."""
    try:
        arguments = parsed(words)
        logged.begin(arguments)
        return _called(arguments, output)
    except (OSError, MemoryError, RuntimeError) as error:
        from growdisk.workflow.failures import host_falls_short

        reads = _command_in(words) in _READING
        if short := host_falls_short(error, Refused if reads else OperationFailed):
            raise short from error
        if not isinstance(error, OSError):
            raise
        # The current folder was removed: getcwd(2) names no file.
        if error.errno == errno.ENOENT and error.filename is None:
            raise UsageError("the current folder is gone", "cd into one that is there") from error
        # Another errno (EIO, ENOSPC) is the system's failure, not a wrong word of the user's.
        if error.errno not in _BAD_NAMES or not isinstance(error.filename, str | bytes):
            raise
        reason = error.strerror or str(error)
        raise ImageNotReadable(Path(os.fsdecode(error.filename)), reason=reason) from error


def _called(arguments: argparse.Namespace, output: CommandOutput) -> int:
    output.json_mode, output.quiet = arguments.json, arguments.quiet
    output.color, output.events = arguments.color, _events(arguments)
    output.still = arguments.commands or arguments.verbose or arguments.json_events
    _set_up_logging(verbose=arguments.verbose, commands=arguments.commands)
    if arguments.state_dir is not None:
        from growdisk.workflow.run_places import STATE_DIR

        # The environment: processes that a playbook starts have to find it as well.
        os.environ[STATE_DIR] = str(arguments.state_dir.absolute())
    action: Callable[[], int] = partial(arguments.run, arguments, output)
    # Most commands name no address, and do not load what looks at them.
    if any("://" in word for word in arguments.words):
        from growdisk.cli.targets import on_address

        action = partial(on_address, arguments, output, action)
    # Those verbs of `image` that need it do it themselves; the others have no time to load this.
    if not arguments.parser.prog.startswith("growdisk image "):
        from growdisk.cli.images.shared import ended_like_ctrl_c

        action = ended_like_ctrl_c()(action)
    if not arguments.trust_references:
        return _answered(arguments, action)
    from growdisk.qcow2.named_files import trusting_references

    with trusting_references():
        return _answered(arguments, action)


def _answered(arguments: argparse.Namespace, action: Callable[[], int]) -> int:
    """Do it, and again each time the user has said what it lacked.

    That is a passphrase, or consent to open a file outside its image's folder.
    """
    try:
        return action()
    # Raised before anything is changed, so the whole action can be done again.
    except (KeyNeeded, WrongKey) as error:
        from growdisk.cli.keys import ask_for_key

        if not ask_for_key(arguments, error):
            raise
        return _answered(arguments, action)
    except ReferenceOutside as error:
        if not _agreed(error):
            raise
        from growdisk.qcow2.named_files import trusting

        with trusting(error.target):
            # Again, as this file may name a further one: one question each.
            return _answered(arguments, action)


def _agreed(error: ReferenceOutside) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    question = (
        f"{error.path}: its {error.role} is {error.target}, outside its folder. Open it? [y/N] "
    )
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _advise(error: GrowdiskError) -> None:
    """Give the error about a damaged image growdisk's own repair as hint, if that works."""
    if isinstance(error, ImageDamaged):
        from growdisk.api.images.checking import repair_hint

        error.hint = repair_hint(error.path) or error.hint


def _events(arguments: argparse.Namespace) -> EventLines | None:
    if not arguments.json_events and arguments.events_fd is None:
        return None
    from growdisk.cli.progress import EventLines

    fd = _STDERR if arguments.events_fd is None else arguments.events_fd
    try:
        os.fstat(fd)
    except (OSError, OverflowError) as error:
        problem = f"--events-fd {fd}: it is not open"
        hint = "growdisk expand … --events-fd 3 3>events"
        raise bad_value(problem, "--events-fd", str(fd), hint) from error
    return EventLines(fd)


def _set_up_logging(*, verbose: bool, commands: bool) -> None:
    if not (verbose or commands):
        return  # warnings reach stderr all the same
    import logging

    # -x alone: of debug messages, which the root holds back, those of commands pass by the level
    # of their own logger.
    logging.basicConfig(
        stream=sys.stderr, format="%(message)s", level=logging.DEBUG if verbose else logging.WARNING
    )
    logging.getLogger("growdisk.command").setLevel(logging.DEBUG)

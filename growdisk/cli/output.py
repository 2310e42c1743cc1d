"""Everything that growdisk says: text for people, one JSON document for scripts, notes and errors.

With --json stdout carries exactly one document; all else goes to stderr. This is the only file that
prints. A note that nobody can read any more (a closed pipe) is dropped: it must not end a run.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress

from growdisk.errors import GrowdiskError

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import TextIO

    from growdisk.cli.progress import Bar, EventLines, Spinner, StepLines
    from growdisk.cli.rich_lines import MovingTable

SCHEMA = 1
"""The version of the JSON documents: it changes when a key changes its meaning or goes."""
_AT_ONCE = 4096  # lines
_PLAIN_WIDTH, _MAX_WIDTH, _MIN_WIDTH = 80, 120, 20


class CommandOutput:
    """Where a command's words go: as its options say, once these are known (dispatch.py)."""

    def __init__(self, *, json_mode: bool = False) -> None:
        self._lost: list[str] = []
        self.json_mode, self.quiet = json_mode, False
        self.color = "auto"  # or "always", "never"
        self.events: EventLines | None = None
        self.still = False  # nothing moves, as other lines go to the terminal too (-x, -v)
        self.names: dict[str, str] = {}  # what paths are called instead, in text and in JSON
        self.json_names: dict[str, str] = {}

    @property
    def width(self) -> int:
        """Columns to draw in: the terminal's, 80 in a pipe."""
        # Of stdout, where drawings go; what moves is drawn on stderr, and asks that (`_moving`).
        if not sys.stdout.isatty():
            return _PLAIN_WIDTH
        import shutil  # here and below: imported only by those who need them

        return max(
            min(shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns, _MAX_WIDTH), _MIN_WIDTH
        )

    def lines(self, lines: Iterable[str]) -> None:
        """The command's result, for people: nothing with --json."""
        if not self.json_mode:
            colour, boxes = _is_coloured(sys.stdout, self.color), _draws_boxes(sys.stdout)
            for line in lines:
                self._answer(_drawn(_harmless(self._named(line)), colour=colour, boxes=boxes))

    def document(
        self, value: Mapping[str, object] | Sequence[object] | Iterator[object], *, own: bool = True
    ) -> None:
        """The command's result, for scripts: nothing without --json.

        ASCII only, so that no encoding can break it. `own`: its keys are growdisk's, and the
        version of its schema is the first of them; else they are qemu-img's.
        """
        if not self.json_mode:
            return
        import json

        if isinstance(value, Mapping):
            text = json.dumps({"schema": SCHEMA, **value} if own else value, indent=2)
            self._answer(_renamed(text, self.json_names))
        else:
            # A list may be long. With indent json has only its slow encoder, in Python: so each
            # record is a line. There is no place for `schema` in a list.
            self._answer("[" + ",\n".join(map(json.dumps, value)) + "]")

    def records(self, parts: Sequence[str]) -> None:
        """The same for a list whose items are JSON already, of which there may be millions."""
        if self.json_mode:
            before = "["
            # Piece by piece: as one text, millions of records would be hundreds of megabytes more.
            for start in range(0, len(parts), _AT_ONCE):
                self._answer(before + ",\n".join(parts[start : start + _AT_ONCE]), end="")
                before = ",\n"
            self._answer("]" if parts else "[]")

    def lost(self, why: str) -> None:
        """A part of the answer could not be written."""
        self._lost.append(why)

    def finish(self) -> str:
        """Let the last of the answer leave this process; why some of it could not, or ""."""
        self._answer("", end="", flush=True)
        return next(iter(self._lost), "")

    def _answer(self, text: str, *, end: str = "\n", flush: bool = False) -> None:
        try:
            print(text, end=end, flush=flush)
        except OSError as error:
            # Told by finish(): until the command has ended, its exit code is not known. A reader
            # of a pipe that has gone is no failure.
            if not isinstance(error, BrokenPipeError):
                self.lost(f"cannot write the answer: {error.strerror}")
            forget(sys.stdout)

    def note(self, text: str) -> None:
        """Something worth knowing that is not the result."""
        if not self.quiet:
            _say(_harmless(self._named(text)))

    def ask(self, question: str, choices: Sequence[tuple[str, str]]) -> str:
        """One of `choices`, each a word and what it means; the first one if the answer is empty.

        For a terminal; "" at its end (Ctrl-D).
        """
        for word, meaning in choices:
            _say(f"  {word:<6} {meaning}")
        words = [word for word, _ in choices]
        while True:
            sys.stderr.write(f"{question} [{'/'.join(words)}, Enter: {words[0]}] ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:
                return ""
            answer = line.strip()
            if answer in words or not answer:
                return answer or words[0]
            _say("  answer with one of these words; Ctrl-C: nothing is done")

    def error(self, error: GrowdiskError) -> None:
        """What, why, what to do, on stderr."""
        self.complain(error.what, error.why, error.what_to_do)

    def failure(self, whose: str, error: Mapping[str, object]) -> None:
        """The same of one of several, as its document (error_document)."""
        what, why, cure = (str(error.get(name) or "") for name in ("what", "why", "do"))
        self.complain(f"{whose}: {what}", why, cure)

    def complain(self, what: str, why: str = "", cure: str = "") -> None:
        """Something that is said with -q as well."""
        for label, text in (("growdisk:", what), ("  why: ", why), ("  do:  ", cure)):
            if text:
                _say(f"{label} {_one_line(self._named(text))}")

    def steps(self) -> StepLines:
        """The observer of a run."""
        from growdisk.cli.progress import Screen, StepLines

        return StepLines(Screen(self.note, self._moving, self._plain, self.events))

    def bar(self, title: str) -> Bar:
        from growdisk.cli.progress import Bar, Screen

        return Bar(Screen(self.note, self._moving, self._plain, self.events), title)

    def working(self, title: str = "") -> AbstractContextManager[Spinner | None]:
        """Work whose end cannot be foreseen; a moving line if it takes over a second.

        None where nothing moves.
        """
        if not self._moving:
            return nullcontext()
        from growdisk.cli.progress import Spinner

        return Spinner(title, plain=self._plain)

    def moving_table(self, headings: Sequence[str]) -> MovingTable | None:
        """Rows that change in place; None if nothing can move."""
        if not self._moving:
            return None
        from growdisk.cli.rich_lines import MovingTable

        return MovingTable(headings, plain=self._plain)

    def _named(self, text: str) -> str:
        return _renamed(text, self.names)

    @property
    def _plain(self) -> bool:
        return self.color == "never"

    @property
    def _moving(self) -> bool:
        return (
            not self.still
            and sys.stderr.isatty()
            and not self.quiet
            and os.environ.get("TERM") != "dumb"
        )


def help_width() -> int:
    """Columns for help texts: what COLUMNS says, or the terminal, 80 elsewhere; less two."""
    # As argparse finds its width, which loads shutil for it.
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns) - 2
    try:
        if sys.__stdout__:
            return os.get_terminal_size(sys.__stdout__.fileno()).columns - 2
        return _PLAIN_WIDTH - 2
    except (OSError, ValueError):
        return _PLAIN_WIDTH - 2


def prepare_streams() -> None:
    """Make the three streams fit to be used, even if the caller has closed them (<&-, >&-)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold bytes of any kind


def forget(stream: TextIO) -> None:
    """After this nothing that is left to be written there can fail a second time."""
    with suppress(OSError, ValueError):
        # What is still in the stream's buffer is flushed at exit, then to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        forget(sys.stderr)


def _renamed(text: str, names: Mapping[str, str]) -> str:
    # A served disk: its file in the state folder is called by the address that the user wrote.
    for path, name in names.items():
        text = text.replace(path, name)
    return text


def _harmless(text: str) -> str:
    """A name in it may have bytes that move the cursor."""
    if text.isprintable():
        return text
    # Line breaks and tabs are ours here; a name with one in it went through `printable` before.
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def _one_line(text: str) -> str:
    """What a tool said may have several lines, and bytes that move the cursor."""
    return " | ".join(printable(line) for line in text.splitlines())


# How drawn lines reach a stream: with or without colour, in box characters or ASCII (LC_ALL=C;
# an unset locale is UTF-8).

USED, UNUSED, OPAQUE = "█", "▒", "░"
_BOXES = "┌┬┐└┴┘─│" + USED + UNUSED + OPAQUE
# Character by character for those of _BOXES.
_ASCII = "++++++-|#.:"
# SGR codes: 36 is cyan, 2 is faint.
_COLOURS = ((USED, "36"), (UNUSED, "2"), (OPAQUE, "2"))


def _drawn(text: str, *, colour: bool, boxes: bool) -> str:
    """`text` as it is to be written."""
    if colour:
        # Before the glyphs become ASCII, as a # or a dot may stand in any name.
        for glyph, code in _COLOURS:
            text = re.sub(f"({glyph}+)", f"\x1b[{code}m\\1\x1b[0m", text)
    return text if boxes else text.translate(str.maketrans(_BOXES, _ASCII))


def _is_coloured(stream: TextIO, color: str) -> bool:
    """`color`: auto, always or never; auto: on a terminal, unless NO_COLOR is set or it is dumb."""
    wanted = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return color == "always" or (color == "auto" and wanted)


def _draws_boxes(stream: TextIO) -> bool:
    if os.environ.get("LC_ALL") in ("C", "POSIX"):
        return False
    try:
        # Latin-1 and the like have no box characters.
        _BOXES.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def printable(text: str) -> str:
    """Without control characters: what stands in an image must not move anybody's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

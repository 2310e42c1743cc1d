"""Runs the command that a command line asks for, and shows errors the way the caller wants them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

from growdisk.cli.output import AnswerLost, Output, error_document, forget, prepare_streams
from growdisk.cli.parser import NoCommand, TextAsked, own_words, parsed
from growdisk.errors import GrowdiskError, Refused

_BUG, _INTERRUPTED = 1, 130


def dispatch(words: Sequence[str]) -> int:
    """Run the command in `words`; every error becomes a message, with --json a document, and an exit code."""
    prepare_streams()
    words = own_words(words)
    output = Output(json_mode="--json" in itertools.takewhile(lambda word: word != "--", words))
    code = 0
    try:
        code = _answer(words, output)
        output.finish()
    except AnswerLost as lost:
        forget(sys.stdout)
        if not lost.reader_gone:
            output.note(f"growdisk: {lost}")
            return code or _BUG
    return code


def _answer(words: Sequence[str], output: Output) -> int:
    try:
        return _run(words)
    except TextAsked as asked:
        output.lines(str(asked).splitlines())
        output.document({"text": str(asked)})
        return 0
    except GrowdiskError as error:
        if isinstance(error, NoCommand) and not output.json_mode:
            output.note(error.text)
        output.error(error)
        refused = {"result": "refused"} if isinstance(error, Refused) else {}
        output.document({**refused, "error": error_document(error)})
        return error.exit_code
    except KeyboardInterrupt:
        output.document({"error": {"what": "interrupted", "why": "", "do": "", "code": _INTERRUPTED}})
        return _INTERRUPTED
    except AnswerLost:
        raise
    except Exception as bug:
        import traceback

        traceback.print_exc()
        output.document({"error": {"what": "growdisk has a bug", "why": repr(bug), "do": "report it", "code": _BUG}})
        return _BUG


def _run(words: Sequence[str]) -> int:
    arguments = parsed(words)
    output = Output(json_mode=arguments.json, quiet=arguments.quiet, color=arguments.color)
    _set_up_logging(verbose=arguments.verbose, commands=arguments.commands)
    code: int = arguments.run(arguments, output)
    return code


def _set_up_logging(*, verbose: bool, commands: bool) -> None:
    if not (verbose or commands):
        return  # warnings reach stderr all the same
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("growdisk.command").setLevel(logging.DEBUG)

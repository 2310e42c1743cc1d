"""A disk named by its address (nbd://, nbd+unix://, ssh://): a file while one command runs.

Messages about that file name the address instead.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from growdisk.cli.output import CommandOutput
from growdisk.errors import UsageError

_LOOKING, _BY_RECORD = frozenset({"show"}), frozenset({"status"})
_WORKING = frozenset({"plan", "expand", "resume", "rollback", "commit"})


def on_address(
    arguments: argparse.Namespace, outputs: Iterable[CommandOutput], action: Callable[[], int]
) -> int:
    """Do it, with the file of the disk in place of its address; as it is, if there is none."""
    outputs = tuple(outputs)
    for word in arguments.words:
        # In a Path https://far/x has become https:/far/x.
        if "://" in word and not Path(word).exists():
            _name(outputs, str(Path(word)), word)
    verb, target = arguments.parser.prog.split()[-1], getattr(arguments, "target", None)
    # The word as it was written.
    word = next((word for word in arguments.words if Path(word) == target), None)
    # An address that is not the target, or of another verb, is left to the verb.
    if word is None or verb not in _LOOKING | _BY_RECORD | _WORKING:
        return action()
    from growdisk.api.served_disks import served, served_path

    path = served_path(word)
    if path is None:
        return action()
    if getattr(arguments, "as_playbook", False):
        raise UsageError("a playbook has no disks behind addresses", hint="leave --as-playbook out")
    if arguments.domain or arguments.qmp:
        raise UsageError(
            "an address and a machine exclude each other", hint="name the one or the other"
        )
    _name(outputs, str(path), shlex.quote(word), word)
    arguments.target = path
    # The run is recorded on this host: the server need not be reached.
    if verb in _BY_RECORD:
        return action()
    with served(word, getattr(arguments, "format", None), writable=verb in _WORKING):
        # -f said what the file is on its own host. What is shown here is the disk in it,
        # always raw.
        if hasattr(arguments, "format"):
            arguments.format = "raw"
        return action()


def _name(outputs: Iterable[CommandOutput], path: str, name: str, word: str = "") -> None:
    """Let the outputs call `path` so; in JSON `word`, if it is another."""
    for output in outputs:
        output.names[path] = name
        # In a JSON document both stand inside a string, escaped; the quotes around them
        # are cut off.
        output.json_names[json.dumps(path)[1:-1]] = json.dumps(word or name)[1:-1]

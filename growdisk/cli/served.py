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
    verb, target = arguments.parser.prog.split()[-1], getattr(arguments, "target", None)
    # The word as it was written: in a Path nbd://far/x has become nbd:/far/x.
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
    for output in outputs:
        output.names = {str(path): shlex.quote(word)}
        # In a JSON document both stand inside a string, escaped; the quotes around them
        # are cut off.
        output.json_names = {json.dumps(str(path))[1:-1]: json.dumps(word)[1:-1]}
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

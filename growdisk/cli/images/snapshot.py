"""growdisk image snapshot: internal snapshots, chosen by name or by id."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator

from growdisk.api.images.info import image_info, snapshot_json
from growdisk.cli.common_options import add_value
from growdisk.cli.declaring import declare, help_of
from growdisk.cli.images.shared import add_path, size_of_qemu_img
from growdisk.cli.output import CommandOutput, printable
from growdisk.errors import UsageError
from growdisk.planner.option_table import SNAPSHOT_NAME

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.images.snapshots import Selector
    from growdisk.qcow2.snapshots import SnapshotEntry

_MILLI = 10**6  # nanoseconds


def snapshot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "create", "apply", "delete"), help="what to do")
    add_path(parser)
    parser.add_argument("name", nargs="?", metavar="NAME", help=help_of(SNAPSHOT_NAME, "or its id"))
    declare(parser, "overlays_may_break")
    which = parser.add_mutually_exclusive_group()
    add_value(which, "--id", "ID", "the snapshot of this id, whatever names there are")
    add_value(which, "--name", "NAME", "the snapshot of this name, whatever ids", dest="only_name")


def run_snapshot(arguments: argparse.Namespace, output: CommandOutput) -> int:
    if arguments.action == "list":
        return _list(arguments, output)
    # The name stands after the image, or after --id or --name.
    words: dict[Selector | None, str | None] = {
        None: arguments.name,
        "id": arguments.id,
        "name": arguments.only_name,
    }
    given = [(selector, word) for selector, word in words.items() if word is not None]
    if len(given) != 1:
        problem = f"snapshot {arguments.action} needs one NAME"
        raise UsageError(problem, "or --id ID, or --name NAME")
    return _change(arguments, *given[0], output)


def _list(arguments: argparse.Namespace, output: CommandOutput) -> int:
    entries = image_info(arguments.path).snapshots
    output.document([snapshot_json(entry) for entry in entries])
    if entries:
        output.lines(snapshot_rows(entries))
    return 0


def _change(
    arguments: argparse.Namespace, selector: Selector | None, name: str, output: CommandOutput
) -> int:
    # Not for `list`, nor for `image info`, which shows snapshots as well.
    from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot

    path, action = arguments.path, arguments.action
    if action == "create":
        if selector == "id":
            raise UsageError("a new snapshot gets its id by itself", hint="give it a NAME")
        info = create_snapshot(path, name, overlays_may_break=arguments.overlays_may_break)
        output.document({"result": "created", "id": info.id, "name": info.name})
        return 0
    change = apply_snapshot if action == "apply" else delete_snapshot
    change(path, name, selector, overlays_may_break=arguments.overlays_may_break)
    output.document({"result": "applied" if action == "apply" else "deleted", "snapshot": name})
    return 0


def snapshot_rows(entries: Iterable[SnapshotEntry]) -> Iterator[str]:
    """The snapshots as qemu-img lists them."""
    yield "Snapshot list:"
    yield f"{'ID':<10}{'TAG':<17}{'VM SIZE':>8}{'DATE':>20}{'VM CLOCK':>13}{'ICOUNT':>11}"
    for entry in entries:
        # In local time, as qemu-img shows it.
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.date_sec))
        count = "" if entry.icount is None else entry.icount
        yield (
            # A space in any case: a name may be longer than its column.
            f"{printable(entry.id):<9} {printable(entry.name):<16} "
            f"{size_of_qemu_img(entry.vm_state_size):>8}{date:>20}"
            f"{_clock(entry.vm_clock_nsec):>13}{count:>11}"
        )


def _clock(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds // _MILLI, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:03}"

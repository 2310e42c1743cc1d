"""Guest scripts as files: planned from an image, perhaps in use, written to a new folder."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from growdisk.api.current_run import new_run_name
from growdisk.api.disk_facts import facts_of_image
from growdisk.api.disks import inspect
from growdisk.api.live_request import LiveRequest
from growdisk.errors import Refused, destination_exists
from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.bundle import package
from growdisk.guest_scripts.script_plan import GuestPlan
from growdisk.planner.goal import Goal
from growdisk.planner.guest_plan import guest_plan
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached
from growdisk.qcow2.probe import ImageFormat


@dataclass(frozen=True)
class WrittenScripts:
    """`plan` is None, and nothing is written, if there is nothing to do: `reason`."""

    folder: Path
    files: tuple[str, ...]
    before: Layout
    after: Layout
    plan: GuestPlan | None = None
    given_up: tuple[str, ...] = ()
    reason: str = ""


def _folder_not_writable(folder: Path, reason: str) -> Refused:
    return Refused.named(
        "folder-not-writable",
        "cannot write to {folder}",
        "{reason}",
        "name another folder with -o",
        {"folder": folder, "reason": reason},
    )


def write_scripts(
    target: Path | LiveRequest,
    goal: Goal,
    folder: Path,
    image_format: ImageFormat | None = None,
    keys: tuple[bytes, ...] = (),
) -> WrittenScripts:
    """Scripts, README.md and user-data in `folder`, which must not exist or be empty.

    `keys` open what is encrypted in an image, to be looked into; they become no part of a script.
    """
    _refuse_full(folder)
    if isinstance(target, Path):
        # Without a lock: scripts are for guests that run; tables and identities stand still.
        facts = facts_of_image(target, image_format, goal.sector_size, keys, lock=False)
    else:
        facts = inspect(target, image_format, goal.sector_size, keys)
    proposal = propose(facts, goal)
    before = layout_of(facts)
    if isinstance(proposal, GoalReached):
        return WrittenScripts(folder, (), before, before, reason=proposal.reason)
    plan = guest_plan(new_run_name(), facts, proposal.steps)
    files = package(plan, proposal.given_up)
    _write(folder, files)
    return WrittenScripts(
        folder, tuple(sorted(files)), before, layout_of(proposal.after), plan, proposal.given_up
    )


def _refuse_full(folder: Path) -> None:
    try:
        if stat.S_ISDIR(folder.stat().st_mode) and not any(folder.iterdir()):
            return
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _folder_not_writable(folder, getattr(error, "strerror", "") or str(error)) from error
    raise destination_exists(folder)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """All of them or none; a folder that is made appears with all of them."""
    # A new folder appears by one rename; an empty one that is there gets its files one by one.
    made = not folder.exists()
    place = folder.with_name(f".{folder.name}.growdisk-new") if made else folder
    try:
        if made:
            shutil.rmtree(place, ignore_errors=True)  # of a process that was killed
            place.mkdir()
        for name, text in files.items():
            file = place / name
            file.write_text(text, encoding="utf-8", errors="surrogateescape")
            file.chmod(0o755 if name.endswith(".sh") else 0o644)
        if made:
            place.rename(folder)
    except OSError as error:
        if made:
            shutil.rmtree(place, ignore_errors=True)
        for name in files if not made else ():
            with suppress(OSError):  # the first failure is the one to report
                (place / name).unlink(missing_ok=True)
        raise _folder_not_writable(folder, reason=error.strerror or str(error)) from error

"""How the Debian guest boots as it was built: what every boot after a change is measured by.

By the steady clock that is the same each time. So it is measured once for each guest, QEMU and
harness, and kept beside the guest.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from tests.e2e import boot as harness
from tests.e2e.boot import BootReport, boot
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import Guest
from tests.guests.tools import run


def untouched_report(guest: Guest) -> BootReport:
    """Of the guest's image, which nothing has been done to."""
    version = run("qemu-system-x86_64", "--version")
    recipe = recipe_hash([Path(__file__), Path(harness.__file__)], version)[:12]
    key = f"untouched-{guest.image.parent.name}-{recipe}"
    folder = cached(key, lambda made: _boot(guest, made))
    said = json.loads((folder / "report.json").read_text())
    return BootReport(**{name: _plain(value) for name, value in said.items()})


def _boot(guest: Guest, folder: Path) -> None:
    """A boot that went wrong is not kept: the next one to ask boots again."""
    report = boot(guest.image)
    assert report.failed_units == report.waits == (), report
    (folder / "report.json").write_text(json.dumps(asdict(report)))


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value

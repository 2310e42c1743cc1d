"""The backing file of an image that is opened piece by piece (Qcow2Image.over)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.qcow2.backing import open_backing
from growdisk.qcow2.header import Header
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.open_checks import Passphrase


def opened_as_backing(
    path: Path, header: Header, key: Passphrase | None = None
) -> BlockDevice | None:
    """The opened backing file of an image at `path`, as `header` (not the file's own) names it."""
    return open_backing(path, header, (), partial(Qcow2Image.open, key=key))

"""Images that lie on others, as qemu-img sees them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.oracle.qemu import qemu_img


def seen(path: Path) -> str:
    """A digest of what the guest sees."""
    copy = path.with_name("seen.raw")
    qemu_img("convert", "-O", "raw", path, copy)
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    copy.unlink()
    return digest

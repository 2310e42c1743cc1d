"""The header of a LUKS1 or LUKS2 container; both have the UUID at byte 168.

Source: cryptsetup's on-disk format documents.
"""

from __future__ import annotations

from growdisk.block.luks1 import IN_TRANSITION, MAGIC
from growdisk.filesystems.content import Content, LuksContent, text


def read_luks(head: bytes) -> Content | None:
    version = int.from_bytes(head[6:8], "big")
    if not head.startswith((MAGIC, IN_TRANSITION)) or version not in (1, 2):
        return None
    label = text(head[24:72]) if version == 2 else ""
    return LuksContent("crypto_LUKS", text(head[168:208]), label, version=version)

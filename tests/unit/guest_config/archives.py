"""Archives as an initrd has them."""

from __future__ import annotations


def cpio(*files: tuple[str, bytes], trailer: bool = True) -> bytes:
    """An archive in the form that the kernel takes (newc)."""
    made = b""
    for name, content in (*files, *([("TRAILER!!!", b"")] if trailer else [])):
        fields = (0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = (
            b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        )
        made += head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
    return made

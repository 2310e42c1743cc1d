"""The verbs that write to an image."""

from __future__ import annotations

import os
from pathlib import Path

from tests.oracle.qemu import qemu_img
from tests.unit.cli.command import Answer, in_process

WRITING = {
    "write": ("image", "write", "IMAGE", "1M", "FILE"),
    "resize": ("image", "resize", "IMAGE", "+64M"),
    "resize to its own size": ("image", "resize", "IMAGE", "+0"),
    "shrink": ("image", "resize", "--shrink", "IMAGE", "-1M"),
    "snapshot create": ("image", "snapshot", "create", "IMAGE", "mine"),
    "snapshot apply": ("image", "snapshot", "apply", "IMAGE", "SNAPSHOT"),
    "snapshot delete": ("image", "snapshot", "delete", "IMAGE", "SNAPSHOT"),
    "compact": ("image", "compact", "IMAGE"),
    "rebase": ("image", "rebase", "IMAGE"),
    "rebase unsafe": ("image", "rebase", "-u", "IMAGE"),
    "commit": ("image", "commit", "IMAGE"),
    "expand": ("expand", "IMAGE", "+64M"),
    "plan": ("plan", "IMAGE", "+64M"),
}
RAW = ("write", "resize", "expand", "plan")


def asked(verb: str, image: Path) -> Answer:
    """The verb on the image; FILE is some bytes, SNAPSHOT one of the run's own."""
    file = image.with_name("bytes")
    file.write_bytes(os.urandom(4096))
    names = [
        word for word in qemu_img("snapshot", "-l", image).split() if word.startswith("growdisk-")
    ]
    words = {"IMAGE": str(image), "FILE": str(file), "SNAPSHOT": (*names, "none")[0]}
    return in_process(*(words.get(word, word) for word in WRITING[verb]))

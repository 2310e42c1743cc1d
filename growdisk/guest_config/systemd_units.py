r"""systemd units that swap on, or mount, a partition that is gone, and units that want those.

A unit is masked by making its file empty: without its What= it would go by its name. What another
unit wants is a name such as dev-disk-by\x2duuid-….swap: it would wait for that, or not start at
all. Specs: systemd.unit(5), systemd.swap(5), systemd.mount(5), systemd-escape(1).
"""

from __future__ import annotations

import re

from growdisk.guest_config.files import change_lines, decode, encode
from growdisk.guest_config.removed_partition import RemovedPartition

_WHAT = r"(?m)^[ \t]*What[ \t]*=[ \t]*(?P<source>.*?)[ \t\r]*$"
_WANTS = (
    r"(?P<before>[ \t]*(?:Requires|Requisite|Wants|BindsTo|PartOf|Upholds|After|Before)[ "
    r"\t]*=)(?P<words>.*)"
)
_KINDS = (".swap", ".device")
_ESCAPE = rb"\\x([0-9a-fA-F]{2})"


def silenced(text: str, gone: RemovedPartition, path: str = "") -> str:
    """The unit's file, empty if its last What= names the partition.

    Without What=, its own name counts.
    """
    # The last What= counts, as in systemd.
    sources = [match["source"] for match in re.finditer(_WHAT, text)]
    if not any(sources):
        return "" if "[Swap]" in text and _is_unit_of(path.rpartition("/")[2], gone) else text
    return "" if gone.is_named_by(sources[-1]) else text


def swap_file_of(text: str) -> str:
    """The path of the file that a swap unit swaps on; "" for a device, or another unit."""
    sources = [match["source"] for match in re.finditer(_WHAT, text)] if "[Swap]" in text else []
    source = sources[-1] if sources else ""
    return source if source.startswith("/") and not source.startswith("/dev/") else ""


def without_wants(text: str, gone: RemovedPartition) -> str:
    """Without the units of the partition in Requires=, After= and their like."""

    def change(line: str) -> str:
        match = re.match(_WANTS, line)
        if match is None or not any(_is_unit_of(word, gone) for word in match["words"].split()):
            return line
        kept = " ".join(word for word in match["words"].split() if not _is_unit_of(word, gone))
        # Empty, it would take back what other files of the same unit want.
        return match["before"] + kept if kept else f"# removed by growdisk: {line}"

    return change_lines(text, change)


def _is_unit_of(name: str, gone: RemovedPartition) -> bool:
    """dev-sda5.swap is that of /dev/sda5."""
    if not name.startswith("dev-") or not name.endswith(_KINDS):
        return False
    # Hyphens first: an escaped one (\x2d) is a hyphen of the path, and none of its slashes.
    path = "/" + name.rpartition(".")[0].replace("-", "/")
    return gone.is_named_by(
        decode(re.sub(_ESCAPE, lambda match: bytes.fromhex(match[1].decode()), encode(path)))
    )

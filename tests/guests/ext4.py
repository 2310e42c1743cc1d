"""An ext4 file system made from tars, at an offset of a disk image,
without root and without mounting.

mke2fs copies a folder, and fakeroot lets that folder carry the owners and device nodes of the tars.
Extended attributes take another way in, debugfs: a file that gets one under fakeroot loses its type
(1.31).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from growdisk.units import ByteRange
from tests.guests.tools import run

Xattrs = Mapping[str, Mapping[str, bytes]]

# The script's arguments: folder, mke2fs options..., "--", tars...
_SCRIPT = """
set -eu
root=$1; shift
options=
while [ "$1" != -- ]; do options="$options $1"; shift; done
shift
for tar; do
    tar -xf "$tar" -C "$root" --numeric-owner --same-owner -p --delay-directory-restore --warning=no-timestamp
done
# tar makes a file of mode 000 that mke2fs then cannot read, unless root: fakeroot's chmod leaves it readable in truth.
find "$root" -type f ! -perm -400 -exec sh -c 'chmod "$(stat -c %a "$1")" "$1"' - {} \\;
exec mke2fs -q -F -t ext4 -d "$root" $options
"""  # noqa: E501


def make_ext4(
    disk: Path,
    place: ByteRange,
    tars: Sequence[Path],
    *,
    uuid: str,
    label: str = "",
    xattrs: Xattrs | None = None,
    block_size: int | None = None,
) -> None:
    """Fill bytes `place` of the raw image `disk` with an ext4 holding the tars' files.

    Stays sparse.
    """
    lazy = f"lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0,offset={place.start}"
    options: list[str | Path] = [
        "-U", uuid, "-E", lazy, *(["-L", label] if label else []),
        *(["-b", str(block_size)] if block_size else []), disk, f"{place.length // 1024}k",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="growdisk-root-", dir=disk.parent) as root:
        Path(root).chmod(0o755)
        run("fakeroot", "sh", "-c", _SCRIPT, "make-ext4", root, *options, "--", *tars)
    set_xattrs(disk, place, xattrs or {})


def set_xattrs(disk: Path, place: ByteRange, xattrs: Xattrs) -> None:
    """Values of attributes, by path inside the file system and attribute name."""
    with tempfile.TemporaryDirectory(prefix="growdisk-xattrs-") as scratch:
        commands: list[str] = []
        for path, values in xattrs.items():
            for name, value in values.items():
                file = Path(scratch) / str(len(commands))
                file.write_bytes(value)
                commands.append(f'ea_set -f {file} "/{path}" {name}\n')
        if commands:
            run("debugfs", "-w", "-f", "-", f"{disk}?offset={place.start}", stdin="".join(commands))

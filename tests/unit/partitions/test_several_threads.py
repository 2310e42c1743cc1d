"""Several tables rewritten at once, as `provision -j` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from growdisk.units import GiB
from tests.unit.partitions.disks import classic_disk, grow

_REWRITE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from growdisk.block.raw import RawFile
from growdisk.fast_dataclass import replace
from growdisk.partitions.parted_disk import rewrite_mbr
from growdisk.partitions.sectors import locate_table

path = Path(sys.argv[1])
def work(_):
    device = RawFile.open(path)
    table = locate_table(device, path, 512).table
    root = replace(table.partitions[0], end=table.partitions[0].end - 512 * 2048)
    new = replace(table, partitions=(root, *table.partitions[1:]))
    changes = rewrite_mbr(device, path, new)
    device.close()
    return len(changes)

sys.setswitchinterval(1e-6)
with ThreadPoolExecutor(8) as pool:
    assert set(pool.map(work, range(400))) == {1}
"""


def test_libparted_survives_several_threads(tmp_path: Path) -> None:
    """What answers its questions is one for the process, which died at its end."""
    disk = classic_disk(tmp_path / "disk.img")
    grow(disk, 12 * GiB)
    done = subprocess.run(
        [sys.executable, "-c", _REWRITE, disk], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr)

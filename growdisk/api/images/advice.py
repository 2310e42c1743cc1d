"""What to do about a damaged image: named only if it works."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, shell_word
from growdisk.qcow2.check.checker import analyse
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.repair import refuse_broken


def repair_hint(path: Path) -> str | None:
    """What to do about a damaged image, if check -r all can mend it. Reads all of its tables."""
    try:
        with closing(RawFile.open(path, lock=False)) as file:
            analysis = analyse(file, path)
        # What `check -r all` would refuse to mend is not advised.
        refuse_broken(analysis, errors=True, accept_loss=True)
    except (GrowdiskError, OSError):
        return None
    lost = " (what the file has lost will read as zeros)" if analysis.findings.cut_off else ""
    is_mended = analysis.report().has_errors or analysis.header.has(Incompatible.CORRUPT)
    return f"mend it: growdisk image check -r all {shell_word(path)}{lost}" if is_mended else None

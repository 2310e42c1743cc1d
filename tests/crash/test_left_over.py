"""What is left on a small host is seen, so that nobody judges it too early."""

from __future__ import annotations

import os
from pathlib import Path

from tests.crash.whole import Host


def test_a_child_that_is_no_program_yet_is_waited_for_when_its_parent_has_died(
    tmp_path: Path,
) -> None:
    """A thread of growdisk may just start one in the instant in which it is killed."""
    (tmp_path / "pristine").mkdir()
    host = Host(tmp_path / "host", tmp_path / "pristine")
    reader, writer = os.pipe()
    if (parent := os.fork()) == 0:
        os.chdir(host.folder)
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)  # until it may go on
            (host.scratch / "growdisk-late").mkdir()
            (host.scratch / "growdisk-late").rmdir()
        os._exit(0)
    os.waitpid(parent, 0)
    assert len(list(host._processes())) == 1
    os.close(writer)
    os.close(reader)
    assert host.left_over() == []

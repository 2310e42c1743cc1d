"""Names that lead nowhere, and files that cannot be read:
errors with words from every verb, never a traceback, and nothing that is left behind.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from growdisk.cli.main import main
from tests.oracle.qemu import qemu_img

#: A regular file that tells a size which it does not have, as a disk that fails does.
LYING = "/sys/kernel/mm/transparent_hugepage/enabled"
READING = (
    "image info @", "image map @", "image snapshot list @", "image compare @ r.raw",
    "image convert @ new", "image copy @ new", "image overlay @ new",
    "image create -f qcow2 -b @ new", "image create -f qcow2 -b @ -F raw new",
    "image read @ 0b 512b new", "image resize @ +1M", "image commit @", "image rebase @",
    "image compact @", "image snapshot create @ x", "show @", "plan @ +1G", "status @", "resume @",
    "rollback @", "commit @", "script @ -o new", "provision @ new --size 1G",
)  # fmt: skip
MAKING = (
    "image create @ 1M", "image create -f qcow2 @ 1M", "image convert r.raw @",
    "image copy r.raw @", "image overlay a.qcow2 @", "image read a.qcow2 0b 512b @",
    "image create -f qcow2 -o data_file=@ new 1M", "provision r.raw @ --size 1G",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    qemu_img("create", "-q", "-f", "qcow2", tmp_path / "a.qcow2", "8M")
    (tmp_path / "r.raw").write_bytes(bytes(1 << 20))
    (tmp_path / "loop").symlink_to("loop2")
    (tmp_path / "loop2").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(line: str, name: str, capfd: pytest.CaptureFixture[str], advice: str = "") -> None:
    before = set(Path().iterdir())
    code = main([name if word == "@" else word.replace("@", name) for word in line.split()])
    told = capfd.readouterr().err
    assert code in (2, 3, 4), told
    assert "Traceback" not in told
    assert advice in told
    assert set(Path().iterdir()) == before


@pytest.mark.parametrize("line", [*READING, "run @", "plan a.qcow2 --with @"])
@pytest.mark.parametrize("name", ["x" * 256, "loop", LYING], ids=["long", "loop", "lying"])
def test_what_cannot_be_read_is_told(
    line: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(line, name, capfd)


@pytest.mark.parametrize("line", MAKING)
@pytest.mark.parametrize("name", ["x" * 256, "x/" * 2500, "loop"], ids=["long", "deep", "loop"])
def test_what_cannot_be_made_is_told(
    line: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(line, name, capfd)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
@pytest.mark.parametrize("line", [*READING, *MAKING, "run @"])
def test_a_folder_that_one_may_not_enter_is_told(
    here: Path, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    here.chmod(0o755)
    (here / "closed").mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        refused(line, "closed/x", capfd)
    finally:
        os.seteuid(0)


def test_a_chain_of_more_layers_than_files_may_be_open_says_so(
    capfd: pytest.CaptureFixture[str], here: Path
) -> None:
    opened, below = len(list(Path("/proc/self/fd").iterdir())), "a.qcow2"
    for number in range(20):
        qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, here / str(number))
        below = str(number)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 12, limits[1]))
    try:
        refused("image convert 19 new", "", capfd, "ulimit -n")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

"""Names as somebody writes them: a `~` of nobody, a link in a ring, no home, no current folder.

And no streams.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import DiskMaker
from tests.unit.cli.command import GROWDISK, environment, in_process

NOBODYS = "~no-such-user/file"
PLAY = """\
- hosts: localhost
  vars_files: {files}
  tasks:
    - growdisk.disk.show: {{image: "{image}"}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ring").symlink_to("ring")
    (tmp_path / "vars.yml").write_text(PLAY.format(files=f"[{NOBODYS}]", image="ring"))
    (tmp_path / "image.yml").write_text(PLAY.format(files="[]", image=NOBODYS))
    (tmp_path / "ring.yml").write_text(PLAY.format(files="[]", image="ring"))
    (tmp_path / "recipe.yml").write_text(f"files: [{{path: /x, source: {NOBODYS}}}]\n")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "run ~no-such-user/play.yml", "run vars.yml", "run image.yml", "run ring.yml",
        "run expand-root -e @~no-such-user/vars", "run expand-root -e target=~no-such-user/a.qcow2",
        "provision {image} out.qcow2 -n --copy ~no-such-user/a:/b",
        "provision {image} out.qcow2 -n --ssh-key ~no-such-user/a",
        "provision {image} out.qcow2 -n --recipe recipe.yml",
        "expand ring +1G --ssh root@nowhere", "show ring --online agent",
    ],
)  # fmt: skip
def test_what_leads_nowhere_is_an_error_with_words(
    folder: Path, small_disk: DiskMaker, words: str
) -> None:
    answer = in_process(*words.format(image=small_disk()).split())
    assert answer.code in (2, 3) and "growdisk: " in answer.err, answer


@pytest.mark.parametrize(
    "words",
    [
        "run pipe.yml", "run image.yml -e @pipe.yml", "run image.yml -i pipe.yml",
        "watch pipe.yml", "provision {image} a.qcow2 --recipe pipe.yml",
        "provision {image} --list pipe.yml", "provision {image} --list pipe.csv",
    ],
)  # fmt: skip
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    folder: Path, small_disk: DiskMaker, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    for name in ("pipe.yml", "pipe.csv"):
        os.mkfifo(folder / name)
    monkeypatch.setattr("growdisk.given_file._WRITER_SECONDS", 0.1)
    answer = in_process(*words.format(image=small_disk()).split())
    assert (answer.code, "pipe" in answer.err) == (2, True), answer


def test_a_configuration_that_is_a_pipe_is_not_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "pipe")
    monkeypatch.setenv("GROWDISK_CONFIG", str(folder / "pipe"))
    monkeypatch.setattr("growdisk.given_file._WRITER_SECONDS", 0.1)
    answer = in_process("status", "guest.qcow2")
    assert (answer.code, "nobody writes to" in answer.err) == (2, True), answer


@pytest.mark.parametrize("words", ["status {}", "show {}", "plan {} +64M", "image info {}"])
def test_a_user_without_a_home_is_told_nothing_about_it(
    small_disk: DiskMaker, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GROWDISK_STATE_DIR", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)  # root has a folder of the system
    answer = in_process(*words.format(small_disk()).split())
    assert (answer.code, answer.err) == (0, ""), answer


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become somebody else")
@pytest.mark.parametrize("words", ["status {}", "show {}", "plan {} +64M", "image resize {} +1M"])
def test_the_home_of_somebody_else_is_not_in_the_way(
    small_disk: DiskMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # as it is under sudo -u
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "GROWDISK_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        disk = shutil.copy(small_disk(), folder)
        for path in (folder, disk):
            os.chown(path, 65534, 65534)
        os.seteuid(65534)
        try:
            answer = in_process(*words.format(disk).split())
        finally:
            os.seteuid(0)
    assert answer.code == 0, answer


def test_a_current_folder_that_was_removed_is_told(folder: Path, small_disk: DiskMaker) -> None:
    gone = folder / "gone"
    gone.mkdir()
    (folder / "play.yml").write_text(PLAY.format(files="[]", image=small_disk()))
    script = f"cd {gone} && rmdir {gone} && exec {GROWDISK} run {folder}/play.yml"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, "the current folder is gone" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed_are_not_missed(tmp_path: Path, closed: str) -> None:
    disk = tmp_path / "empty.raw"
    disk.write_bytes(bytes(1 << 20))
    script = f"exec {GROWDISK} expand {disk} +64M {closed}"
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 3, done.stderr

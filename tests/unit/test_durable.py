"""Files that a crash leaves old or new, seen by system calls: a test cannot cut the power."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from growdisk.durable import alone_in, append_record, open_locked, replace_file, scratch_folder


def calls_of(code: str, directory: Path) -> list[str]:
    """The names of the relevant system calls that `code` makes, in order."""
    trace = directory / "trace"
    names = "write,fsync,fdatasync,rename,renameat,renameat2"
    command = [
        "strace", "-f", "-y", "-e", f"trace={names}", "-o", trace, sys.executable, "-c", code,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
    return [
        line.split(maxsplit=1)[1]
        for line in trace.read_text().splitlines()
        if str(directory) in line
    ]


def test_a_replaced_file_has_the_new_content_and_leaves_nothing_else(tmp_path: Path):
    target = tmp_path / "plan.json"
    target.write_bytes(b"old")
    replace_file(target, b"new" * 100_000)
    assert target.read_bytes() == b"new" * 100_000
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("renaming", ["works", "EINVAL"])
@pytest.mark.parametrize("taken", [False, True])
def test_a_file_gets_its_name_where_there_are_no_hard_links(
    tmp_path: Path, renaming: str, taken: bool
):
    """strace lets link() fail, as FAT does, and renameat2() as an old network file system."""
    (tmp_path / "hidden").write_bytes(b"all of it")
    if taken:
        (tmp_path / "name").write_bytes(b"another's")
    inject = ["-e", "inject=linkat,link:error=EPERM"]
    if renaming != "works":
        inject += ["-e", f"inject=renameat2:error={renaming}"]
    code = (
        "import sys; from pathlib import Path; from growdisk.durable import publish; "
        "publish(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    words = [sys.executable, "-c", code, tmp_path / "hidden", tmp_path / "name"]
    answer = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", *inject, *words],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (answer.returncode == 0) == (not taken), answer.stderr
    assert ("FileExistsError" in answer.stderr) == taken
    assert (tmp_path / "name").read_bytes() == (b"another's" if taken else b"all of it")
    assert (tmp_path / "hidden").exists() == taken


def test_the_content_is_synced_before_the_rename_and_the_directory_after_it(tmp_path: Path):
    calls = calls_of(
        f"from pathlib import Path; from growdisk.durable import replace_file; "
        f"replace_file(Path({str(tmp_path / 'plan.json')!r}), b'new')",
        tmp_path,
    )
    assert [call.split("(")[0].removesuffix("at").removesuffix("at2") for call in calls] == [
        "write",
        "fsync",
        "rename",
        "fsync",
    ]
    assert calls[1].split("<")[1].startswith(str(tmp_path / "plan.json.new"))
    assert calls[3].split("<")[1].startswith(f"{tmp_path}>")


def test_a_failed_replacement_leaves_the_old_file(tmp_path: Path):
    target = tmp_path / "plan.json"
    target.write_bytes(b"old")
    (tmp_path / "plan.json.new").mkdir()  # the temporary file cannot be made
    with pytest.raises(OSError, match="directory"):
        replace_file(target, b"new")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["", ".", "..", "folder", "pipe", "link"])
def test_what_is_no_file_is_never_replaced_by_one(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="not a regular file"):
        replace_file(tmp_path / "folder" / ".." / name, b"new")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "link").is_symlink()


def test_no_file_takes_the_place_of_a_name_in_dev():
    """As /dev/stdout, a link, which may well lead to a file."""
    name = Path("/dev/growdisk-test")
    with pytest.raises(OSError, match="not a regular file"):
        replace_file(name, b"new")
    assert not name.exists()


def test_records_are_appended_and_each_is_synced(tmp_path: Path):
    journal = tmp_path / "journal.jsonl"
    append_record(journal, b"one\n")
    append_record(journal, b"two\n")
    assert journal.read_bytes() == b"one\ntwo\n"
    calls = calls_of(
        f"from pathlib import Path; from growdisk.durable import append_record; "
        f"[append_record(Path({str(tmp_path / 'j')!r}), b'x') for _ in range(2)]",
        tmp_path,
    )
    assert [call.split("(")[0] for call in calls] == ["write", "fsync", "fsync", "write", "fsync"]


def test_a_locked_file_is_refused_and_one_removed_by_its_owner_is_made_again(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "lock"
    first = open_locked(lock, 0o600)
    with pytest.raises(BlockingIOError):
        open_locked(lock, 0o600)
    lock.unlink()
    # The name is free: the lock on the file that is gone keeps nobody out.
    second = open_locked(lock, 0o600)
    assert os.path.samestat(os.fstat(second), lock.stat())
    for fd in (first, second):
        os.close(fd)


def test_a_file_that_is_removed_while_it_is_being_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, flock, locks = tmp_path / "lock", fcntl.flock, 0

    def removed_meanwhile(fd: int, operation: int) -> None:
        nonlocal locks
        flock(fd, operation)
        locks += 1
        if locks == 1:
            lock.unlink()

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    fd = open_locked(lock, 0o600)
    assert locks == 2 and os.path.samestat(os.fstat(fd), lock.stat())
    os.close(fd)


def test_a_scratch_folder_goes_and_takes_those_of_killed_processes_with_it(tmp_path: Path) -> None:
    hour_ago, kinds = time.time() - 3600, ("kind-killed", "kind-used", "kind-new", "other-killed")
    for name in kinds:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        if name != "kind-new":  # about to be locked
            os.utime(tmp_path / name, (hour_ago, hour_ago))
    (tmp_path / "kind-link").symlink_to("other-killed")
    with alone_in(tmp_path / "kind-used"), scratch_folder("kind-", str(tmp_path)) as folder:
        (folder / "file").touch()
        found = {path.name for path in tmp_path.iterdir()}
    assert found == {*kinds[1:], "kind-link", folder.name}
    assert not folder.exists() and (tmp_path / "other-killed/file").exists()

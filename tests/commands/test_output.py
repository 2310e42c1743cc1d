"""What reaches the screen, a pipe, or nothing: colour, characters, widths, closed streams."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.unit.cli.command import GROWDISK, GUESTFS, NO_APPLIANCE, environment, growdisk

COLOUR = "\x1b["


def on_a_terminal(*words: str | Path, columns: int = 80, env: dict[str, str] | None = None) -> str:
    """What growdisk writes to a terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = environment({"TERM": "xterm", **(env or {})})
    with subprocess.Popen(
        [GROWDISK, *words], stdin=follower, stdout=follower, stderr=follower, env=variables
    ):
        os.close(follower)
        return _all_of(leader).replace("\r\n", "\n")


def _all_of(leader: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # EIO: nobody has the other end open any more
            break
        parts.append(part)
    os.close(leader)
    return b"".join(parts).decode()


def test_in_a_pipe_there_is_no_colour_and_eighty_columns(classic: Path) -> None:
    answer = growdisk("show", classic)
    assert (answer.code, answer.err) == (0, "")
    assert COLOUR not in answer.out
    assert max(map(len, answer.out.splitlines())) == 80


def test_colour_always_is_colour_in_a_pipe_too(classic: Path) -> None:
    plain, coloured = growdisk("show", classic), growdisk("show", classic, "--color", "always")
    assert "\x1b[36m█" in coloured.out
    assert (
        coloured.out.replace("\x1b[36m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
        == plain.out
    )


def test_terminal_gets_colour_and_its_own_width(classic: Path) -> None:
    out = on_a_terminal("show", classic, columns=100)
    assert COLOUR in out
    assert max(map(len, out.splitlines())) > 100  # with the codes


@pytest.mark.parametrize("columns", [40, 60, 100, 300])
def test_terminal_is_never_overfull(classic: Path, columns: int) -> None:
    out = on_a_terminal("plan", classic, "+1G", "--color", "never", columns=columns)
    bars = [line for line in out.splitlines() if line[:1] in "┌│└"]
    assert max(map(len, bars)) == min(columns, 120)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_without_colour_when_asked(classic: Path, env: dict[str, str]) -> None:
    assert COLOUR not in on_a_terminal("show", classic, env=env)


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "POSIX"},
    ],
)
def test_without_box_characters_the_drawing_is_ascii(classic: Path, env: dict[str, str]) -> None:
    answer = growdisk("show", classic, env=env)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.isascii()
    assert "+------" in answer.out
    assert "|###" in answer.out


def test_name_that_is_no_utf_8_is_shown_somehow(copied: Copier, tmp_path: Path) -> None:
    image = copied("guest.qcow2").rename(tmp_path / os.fsdecode(b"gr\xfcn.qcow2"))
    for env in ({}, {"PYTHONIOENCODING": "ascii"}):
        assert growdisk("show", image, env=env).code == 0
        assert growdisk("show", image, "--json", env=env).json()["image"]["path"]
        assert growdisk("plan", image, "1M", env=env).code == 3


def test_reader_that_goes_away_early_is_no_error(classic: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    for unbuffered in ("", "1"):
        env = environment({"PYTHONUNBUFFERED": unbuffered})
        done = subprocess.run(
            [GROWDISK, "show", classic],
            stdout=write_end,
            stderr=subprocess.PIPE,
            env=env,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    os.close(write_end)


def test_full_disk_behind_stdout_is_told(classic: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [GROWDISK, "show", classic],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"growdisk: cannot write the answer: No space left on device\n"


def test_closed_stdout_and_stderr_are_no_error(classic: Path) -> None:
    command = f'"{GROWDISK}" show "{classic}" >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], env=environment(), check=False).returncode == 0


def test_run_goes_on_when_nobody_reads_its_progress(copied: Copier) -> None:
    image = copied("guest.qcow2")
    read_end, write_end = os.pipe()
    os.close(read_end)
    env = environment(NO_APPLIANCE)
    done = subprocess.run(
        [GROWDISK, "expand", image, "+8M", "--json", *GUESTFS],
        stdout=subprocess.PIPE,
        stderr=write_end,
        env=env,
        check=False,
    )
    os.close(write_end)
    assert b'"result": "restored"' in done.stdout
    assert b"did not start" in done.stdout
    assert done.returncode == 4


def test_run_goes_on_when_its_terminal_is_closed(copied: Copier) -> None:
    image = copied("guest.qcow2")
    leader, follower = pty.openpty()
    env = environment({"TERM": "xterm", **NO_APPLIANCE})
    words = ["expand", image, "+8M", "--yes", *GUESTFS]
    with subprocess.Popen(
        [GROWDISK, *words], stdin=follower, stdout=follower, stderr=follower, env=env
    ) as process:
        os.close(follower)
        assert os.read(leader, 1)  # the first step moves
        os.close(leader)
    # Its code tells of the disk, although its answer could not be written.
    assert process.returncode == 4
    assert growdisk("status", image, "--json").json()["state"] == "undone"


def test_quiet_leaves_errors_only(copied: Copier) -> None:
    answer = growdisk("expand", copied("guest.qcow2"), "+8M", "-q", *GUESTFS, env=NO_APPLIANCE)
    assert answer.code == 4
    assert answer.err.startswith(
        "growdisk: step reread-partitions failed; everything is back as it was"
    )


def test_what_a_tool_says_stays_on_one_line(copied: Copier) -> None:
    answer = growdisk("show", "no\nsuch\x1b[2Jfile")
    assert answer.err.splitlines()[0] == "growdisk: cannot open no | such?[2Jfile"

"""Running programs of the host."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from growdisk.errors import Refused, ToolFailed, ToolMissing, ToolTimedOut
from growdisk.host import command
from growdisk.host.command import kill_all, kill_children, require, run, time_limit


def test_output_and_status_come_back_and_the_locale_is_plain() -> None:
    done = run(["sh", "-c", "cat; echo $LC_ALL; echo oops >&2; exit 3"], input="in ", accept=(3,))
    assert (done.status, done.stdout, done.stderr) == (3, "in C\n", "oops\n")
    assert done.last_words == "oops"


def test_a_failing_tool_is_named_with_its_status_and_last_words() -> None:
    with pytest.raises(ToolFailed) as caught:
        run(["sh", "-c", "for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; exit 9"])
    assert (caught.value.tool, caught.value.status) == ("sh", 9)
    assert caught.value.detail == "line 3; line 4; line 5; line 6; line 7"
    assert caught.value.exit_code == 4


def test_a_missing_tool_is_refused_with_the_package_to_install() -> None:
    with pytest.raises(ToolMissing) as caught:
        run(["growdisk-no-such-tool"])
    assert isinstance(caught.value, Refused)
    assert caught.value.what_to_do == "sudo apt-get install growdisk-no-such-tool"


def test_tools_in_sbin_are_found_without_sbin_in_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert require("sfdisk").endswith("sbin/sfdisk")
    assert "sfdisk" in run(["sfdisk", "--version"]).stdout


def test_a_tool_that_hangs_is_killed_with_all_that_it_started() -> None:
    started = time.monotonic()
    with pytest.raises(ToolTimedOut, match="did not finish within 1 s"):
        run(["sh", "-c", "sleep 31.4159 & wait"], timeout=1)
    assert time.monotonic() - started < 25
    assert (
        subprocess.run(["pgrep", "-f", "^sleep 31.4159"], stdout=subprocess.DEVNULL).returncode == 1
    )


@pytest.mark.parametrize("stream", ["1", "2"])
@pytest.mark.parametrize("said", ["yes", "tr '\\\\0' x </dev/zero"], ids=["lines", "one line"])
def test_a_tool_that_says_too_much_is_ended(
    monkeypatch: pytest.MonkeyPatch, stream: str, said: str
) -> None:
    """A hostile file system makes some tools do so."""
    monkeypatch.setattr(command, "MOST_SAID", 3 << 20)
    heard = list[str]()
    for on_line in (None, heard.append):
        with pytest.raises(ToolFailed, match="more than 3 MiB, and was ended"):
            run(["sh", "-c", f"{said} >&{stream}"], accept=None, on_line=on_line)
    assert sum(map(len, heard)) <= 3 << 20


def test_as_much_as_may_be_said_is_heard() -> None:
    done = run(["sh", "-c", "head -c 30000000 /dev/zero; cat >&2"], input="x" * 3_000_000)
    assert (len(done.stdout), len(done.stderr)) == (30_000_000, 3_000_000)


def test_what_a_tool_has_left_running_is_not_waited_for_longer() -> None:
    with pytest.raises(ToolTimedOut):
        run(["sh", "-c", "sleep 27.1828 &"], timeout=1)


def test_a_tool_that_does_not_listen_is_not_waited_for() -> None:
    assert run(["true"], input="x" * 3_000_000, timeout=50).status == 0


def test_lines_of_stderr_are_told_while_the_tool_runs(tmp_path: Path) -> None:
    """It goes on when its first line has been heard, and not before."""
    heard = list[str]()

    def told(line: str) -> None:
        heard.append(line)
        (tmp_path / line).touch()

    script = f"echo one >&2; until [ -e {tmp_path}/one ]; do sleep 0.05; done; printf two >&2; cat"
    done = run(["sh", "-c", script], input="in", timeout=30, on_line=told)
    assert (done.stdout, done.stderr, heard) == ("in", "one\ntwo", ["one", "two"])
    with pytest.raises(ToolTimedOut):
        run(["sh", "-c", "echo one >&2; sleep 60"], timeout=2, on_line=heard.append)
    assert heard == ["one", "two", "one"]


def test_what_is_done_meanwhile_is_done_while_the_tool_works(tmp_path: Path) -> None:
    done = run(
        ["sh", "-c", f"until [ -e {tmp_path}/sign ]; do sleep 0.05; done; echo seen"],
        begun=lambda pid: (tmp_path / "sign").touch(),
        timeout=30,
    )
    assert done.stdout == "seen\n"


def test_a_tool_does_not_outlive_what_fails_meanwhile() -> None:
    pids = list[int]()

    def fail(pid: int) -> None:
        pids.append(pid)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        run(["sleep", "60"], begun=fail)
    assert not Path(f"/proc/{pids[0]}").exists()


def test_every_command_is_logged_so_that_it_can_be_pasted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "growdisk.command")
    run(["echo", "it's", "a b", "$HOME"])
    assert (
        subprocess.run(["sh", "-c", caplog.messages[0]], stdout=subprocess.PIPE).stdout
        == b"it's a b $HOME\n"
    )


def test_a_time_limit_kills_only_the_children_it_names() -> None:
    with (
        subprocess.Popen(["sleep", "27.1828"]) as named,
        subprocess.Popen(["sleep", "27.1829"]) as other,
    ):
        with time_limit(0.1, "27.1828") as limit:
            assert named.wait(timeout=10) < 0
        assert limit.overrun and other.poll() is None
        kill_children(("27.1829",))


def test_a_time_limit_that_is_kept_does_nothing() -> None:
    with subprocess.Popen(["sleep", "27.1830"]) as child:
        with time_limit(0.3, "27.1830") as limit:
            pass
        time.sleep(0.5)
        assert not limit.overrun and child.poll() is None
        child.kill()


def test_a_process_of_somebody_else_that_names_our_folder_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an administrator's who looks into it: an ordinary user may not kill that."""
    word = "growdisk-2.7182818"
    foreign, own = (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", word])
        for _ in range(2)
    )
    kill = os.kill

    def refusing(pid: int, number: int) -> None:
        if pid == foreign.pid:
            raise PermissionError
        kill(pid, number)

    monkeypatch.setattr(os, "kill", refusing)
    try:
        kill_all(word)
        assert own.wait() == -signal.SIGKILL and foreign.poll() is None
    finally:
        monkeypatch.undo()
        foreign.kill()
        foreign.wait()


@pytest.mark.parametrize(
    ("tool", "package"), [("losetup", "mount"), ("zfs", "zfsutils-linux"), ("rbd", "ceph-common")]
)
def test_a_tool_of_the_hosts_storage_is_missed_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tool: str, package: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ToolMissing) as caught:
        require(tool)
    assert caught.value.package == package


def test_what_a_killed_program_has_started_is_waited_for(tmp_path: Path) -> None:
    """In a sandbox it dies after it, and could still write while its step is taken back."""

    def begun(_: int) -> None:
        while not (tmp_path / "up").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    words = "setsid sh -c 'touch up; sleep 1; touch ended' & wait"
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", words], cwd=tmp_path, begun=begun)
    assert (tmp_path / "ended").exists()

"""The ways into a guest: output is heard while a script runs, root is needed, files freeze."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.api.live_request import LiveRequest
from growdisk.api.live_session import while_frozen
from growdisk.api.live_target import RunningGuest, reach
from growdisk.live.guest_agent import AgentShell, AgentSocket
from growdisk.live.guest_shell import GuestShell, GuestUnreachable
from growdisk.live.ssh import SshShell
from growdisk.steps.live_place import GuestAccess
from growdisk.workflow.stopping import StopRequest
from tests.online.machine import LiveGuest, ssh_config

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]

_PATIENCE = 600.0
_SCRIPT = (
    "echo one >&2; until [ -e /run/heard ]; do sleep 0.2; done; rm /run/heard; echo two "
    ">&2; echo done; exit 7"
)


def by_agent(guest: LiveGuest) -> GuestShell:
    channel = AgentSocket.connect(guest.sockets.agent)
    return AgentShell.open(channel.call, channel.close)


def test_a_script_is_heard_while_it_runs(awake_guest: LiveGuest, tmp_path: Path) -> None:
    """It goes on when its first line has been heard, and not before: the console says so to it."""
    for shell in (by_agent(awake_guest), SshShell.open("guest", ssh_config(awake_guest, tmp_path))):
        heard = list[str]()

        def told(line: str, heard: list[str] = heard) -> None:
            heard.append(line)
            if line == "one":
                awake_guest.run("touch /run/heard", _PATIENCE)

        with closing(shell):
            answer = shell.run(_SCRIPT, _PATIENCE, told)
        assert (answer.status, answer.stdout, answer.stderr) == (7, b"done\n", b"one\ntwo\n")
        assert heard == ["one", "two"]
    assert awake_guest.run("ls /run | grep -c ^growdisk- || :", _PATIENCE).strip() == "0"


def test_whoever_is_not_root_uses_sudo_or_is_refused(
    awake_guest: LiveGuest, tmp_path: Path
) -> None:
    guest, config = awake_guest, ssh_config(awake_guest, tmp_path)
    config.write_text(config.read_text().replace("User root", "User somebody"))
    guest.run(
        "useradd -m somebody; cp -r /root/.ssh /home/somebody/; chown -R somebody: "
        "/home/somebody/.ssh",
        _PATIENCE,
    )
    with pytest.raises(GuestUnreachable, match="no root there") as refused:
        SshShell.open("guest", config)
    assert "sudo without a password" in refused.value.what_to_do
    guest.run("echo 'somebody ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/somebody", _PATIENCE)
    with closing(SshShell.open("guest", config)) as shell:
        assert shell.run("id -u; cat /etc/shadow | wc -l", _PATIENCE).stdout.startswith(b"0\n")


def test_the_guests_files_are_frozen_for_an_action_and_thawed_whatever_comes_of_it(
    awake_guest: LiveGuest,
) -> None:
    """Through the agent that leads inside, which talks to one at a time."""

    def fail() -> None:
        raise RuntimeError("the action")

    reached = reach(LiveRequest(qmp=awake_guest.sockets.qmp))
    assert isinstance(reached, RunningGuest)
    with closing(reached):
        inside = GuestAccess(reached.open_shell, StopRequest())
        assert inside.shell.run("true", _PATIENCE).status == 0
        with pytest.raises(RuntimeError):
            while_frozen(reached, inside, fail)
        inside.forget()
    said = awake_guest.run(
        "echo x >/root/x; sync; journalctl --no-pager -o cat | grep -c 'fsfreeze called' || :",
        _PATIENCE,
    )
    assert int(said) == 1

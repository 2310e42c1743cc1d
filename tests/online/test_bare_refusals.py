"""Running machines that are refused: nothing was touched, and the message says what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from growdisk.block.locks import image_writers
from growdisk.live.qmp import QmpMonitor
from tests.e2e.process import Answer, Host, await_true
from tests.guests.tools import environment
from tests.online.bare import bare, image, second_disk
from tests.refusals import raises

pytestmark = pytest.mark.timeout(120)


def refused(host: Host, *words: str | Path) -> Answer:
    answer = host.growdisk(*words)
    assert (answer.code, answer.result) == (3, "refused"), answer
    assert host.left_files() == []
    return answer


def test_an_image_in_use_is_refused_with_the_command_that_grows_it_online(
    tmp_path: Path, host: Host
) -> None:
    with bare(tmp_path) as (guest, _):
        error = refused(host, "expand", guest.image, "+1G").error
        assert f"(pid {guest.process.pid})" in str(error["why"])
        assert f"growdisk expand --qmp {guest.sockets.qmp} +1G works" in str(error["do"])
        assert f"growdisk show --qmp {guest.sockets.qmp}" in str(
            refused(host, "show", guest.image).error["do"]
        )
        assert not guest.image.with_name(guest.image.name + ".growdisk").exists()


def test_an_image_in_use_by_a_qemu_without_a_monitor_is_refused_with_the_holder_and_the_options(
    tmp_path: Path, host: Host
) -> None:
    disk = image(tmp_path)
    words = [
        "-accel", "tcg", "-nodefaults", "-display", "none", "-S",
        "-drive", f"if=virtio,file={disk},format=qcow2",
    ]  # fmt: skip
    process = subprocess.Popen(["qemu-system-x86_64", *words], env=environment())
    try:
        await_true(lambda: bool(image_writers(disk)), 60, "QEMU has opened the image")
        for options in ((), ("--online", "agent"), ("--ssh", "root@guest")):
            error = refused(host, "expand", disk, "+1G", *options).error
            assert f"pid {process.pid}" in str(error["why"])
            assert "-qmp" in str(error["do"]) and "--qmp SOCKET" in str(error["do"])
    finally:
        process.kill()
        process.wait()


def test_a_paused_guest_is_refused(tmp_path: Path, host: Host) -> None:
    with bare(tmp_path) as (guest, machine):
        machine.monitor.execute("stop")
        assert "paused" in str(
            refused(host, "expand", "--qmp", guest.sockets.qmp, "+1G").error["what"]
        )


def test_another_block_job_is_refused(tmp_path: Path, host: Host) -> None:
    with bare(tmp_path) as (guest, machine):
        machine.monitor.execute(
            "drive-mirror",
            job_id="copy",
            device="disk",
            target=str(tmp_path / "copy.raw"),
            sync="full",
            format="raw",
        )
        assert "'mirror'" in str(
            refused(host, "expand", "--qmp", guest.sockets.qmp, "+1G").error["why"]
        )


def test_a_guest_without_agent_is_refused_before_anything_is_touched(
    tmp_path: Path, host: Host
) -> None:
    with bare(tmp_path) as (guest, _):
        error = refused(host, "expand", guest.image, "+1G", "--online", "agent").error
        assert "nobody in the guest answers" in str(error["why"])
        assert "--ssh root@GUEST" in str(error["do"])
        assert not guest.image.with_name(guest.image.name + ".growdisk").exists()


def test_a_disk_that_the_machine_does_not_have_is_refused_with_those_it_has(
    tmp_path: Path, host: Host
) -> None:
    with bare(tmp_path) as (guest, _):
        error = refused(host, "expand", "--qmp", guest.sockets.qmp, "--disk", "vdz", "+1G").error
        assert error["what"] == f"the guest at {guest.sockets.qmp} has no disk vdz"
        assert str(guest.image) in str(error["why"])


def test_several_disks_must_be_told_apart(tmp_path: Path, host: Host) -> None:
    with bare(tmp_path, "scsi", "qcow2", *second_disk(image(tmp_path, name="other"), "qcow2")) as (
        guest,
        _,
    ):
        error = refused(host, "expand", "--qmp", guest.sockets.qmp, "+1G").error
        assert "--disk" in str(error["do"]) and "other" in str(error["why"])


def test_a_monitor_that_somebody_else_uses_is_refused(tmp_path: Path) -> None:
    with bare(tmp_path) as (guest, _), raises("monitor-unreachable", match="another program"):
        QmpMonitor.connect(guest.sockets.own, patience=1)


@pytest.mark.parametrize("words", [("--qmp", "/nowhere/qmp", "+1G"), ("--qmp", "/dev/null", "+1G")])
def test_a_monitor_that_is_none_is_refused(host: Host, words: tuple[str, ...]) -> None:
    assert "cannot talk to QEMU" in str(refused(host, "expand", *words).error["what"])


@pytest.mark.parametrize(
    "words",
    [
        ("expand", "+1G"),
        ("expand",),
        ("show",),
        ("status",),
        ("expand", "-d", "web01", "--qmp", "/run/q", "+1G"),
        ("expand", "--qmp", "/run/q", "+1G", "--online", "manual"),
        ("expand", "--qmp", "/run/q", "-- -oProxyCommand=x", "+1G"),
    ],
)
def test_commands_that_cannot_be_understood_end_with_status_2_or_3(
    host: Host, words: tuple[str, ...]
) -> None:
    answer = host.growdisk(*words)
    assert answer.code in (2, 3), answer
    assert answer.error["do"]


def test_the_machine_survives_that_its_qemu_dies_under_a_command(
    tmp_path: Path, host: Host
) -> None:
    with bare(tmp_path) as (guest, machine):
        guest.pull_the_plug()
        with pytest.raises(Exception, match="QEMU went away"):
            machine.status()

"""A running guest that cannot be worked on is refused before anything was touched.

One guest serves all, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.process import Answer, Host
from tests.guests.classic import DISK_SIZE
from tests.guests.tools import run
from tests.online.inside import sizes, swaps
from tests.online.machine import LiveGuest, ssh_config

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]

_AGENT_CONFIG = "/etc/qemu/qemu-ga.conf"


@pytest.fixture(scope="module")
def awake_guest(awake_guest: LiveGuest) -> Iterator[LiveGuest]:
    yield awake_guest
    assert sizes(awake_guest)["sda"] == DISK_SIZE
    assert swaps(awake_guest) == ["/dev/sda5"]
    assert not awake_guest.image.with_name(awake_guest.image.name + ".growdisk").exists()


def refused(host: Host, guest: LiveGuest, *words: str | Path) -> Answer:
    answer = host.growdisk("expand", "--qmp", guest.sockets.qmp, *words)
    assert (answer.code, answer.result) == (3, "refused"), answer
    return answer


def test_a_size_below_the_present_one_is_refused(awake_guest: LiveGuest, host: Host) -> None:
    assert "never shrinks" in str(refused(host, awake_guest, "2G").error["why"])


def test_an_agent_that_may_not_run_programs_is_refused(awake_guest: LiveGuest, host: Host) -> None:
    awake_guest.run(
        f"mkdir -p /etc/qemu; printf '[general]\\nblacklist=guest-exec\\n' >{_AGENT_CONFIG}"
    )
    awake_guest.run("systemctl restart qemu-guest-agent")
    try:
        assert "forbids guest-exec" in str(refused(host, awake_guest, "+1G").error["why"])
    finally:
        awake_guest.run(f"rm {_AGENT_CONFIG}; systemctl restart qemu-guest-agent")


def test_what_the_guests_own_blkid_alone_knows_is_refused_by_its_name(
    awake_guest: LiveGuest, host: Host
) -> None:
    """The mark of a disk controller's array, without its checksum, at the end of the disk."""
    planned = host.growdisk("plan", "--qmp", awake_guest.sockets.qmp, "+1G")
    assert planned.code == 0 and "blkid" not in str(planned), planned
    last = (
        f"dd of=/dev/sda bs=512 seek={DISK_SIZE // 512 - 1} count=1 conv=notrunc,fsync status=none"
    )
    awake_guest.run(f"printf 'JM\\001\\002\\007' | {last}")
    try:
        assert "jmicron_raid_member" in str(refused(host, awake_guest, "+1G").error["why"])
    finally:
        awake_guest.run(f"{last} if=/dev/zero")


def test_ssh_that_does_not_get_in_is_refused_with_its_own_words(
    awake_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    config = ssh_config(awake_guest, tmp_path)
    config.write_text(config.read_text().replace("User root", "User nobody-there"))
    error = refused(host, awake_guest, "+1G", "--ssh", "guest", "--ssh-config", config).error
    assert "Permission denied" in str(error["why"])
    assert host.left_files() == []


def test_a_guest_that_is_not_who_ssh_knows_is_refused(
    awake_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    config = ssh_config(awake_guest, tmp_path)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other")
    key = (tmp_path / "other.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{awake_guest.sockets.ssh_port} {key}")
    error = refused(host, awake_guest, "+1G", "--ssh", "guest", "--ssh-config", config).error
    assert "Host key verification failed" in str(error["why"])


def test_another_disk_beside_is_refused_while_the_guest_runs(
    awake_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    run("qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "other.qcow2", "64M")
    error = refused(host, awake_guest, "+1G", "--with", tmp_path / "other.qcow2").error
    assert "its guest runs" in str(error["why"])


def test_snapshots_that_the_image_cannot_have_are_refused(
    awake_guest: LiveGuest, host: Host
) -> None:
    assert "--preallocation" in str(
        refused(host, awake_guest, "+1G", "--preallocation", "falloc").error["what"]
    )
    assert "--backend" in str(
        refused(host, awake_guest, "+1G", "--backend", "guestfs").error["what"]
    )
    kept = refused(host, awake_guest, "+1G", "--snapshots", "overlay", "--keep-snapshots")
    assert "--keep-snapshots" in str(kept.error["what"])


def test_a_guest_disk_that_is_not_there_is_refused_with_those_that_are(
    awake_guest: LiveGuest, host: Host
) -> None:
    assert "/dev/sda (3.0 GiB)" in str(
        refused(host, awake_guest, "+1G", "--guest-disk", "/dev/vdb").error["why"]
    )


def test_the_plan_names_what_cannot_be_undone(awake_guest: LiveGuest, host: Host) -> None:
    plan = host.growdisk("plan", "--qmp", awake_guest.sockets.qmp, "+1G").document
    assert (plan["result"], plan["backend"], plan["snapshots"]) == ("planned", "online", "internal")
    assert "what it did since is lost" in str(plan["notes"])
    without = host.growdisk(
        "plan", "--qmp", awake_guest.sockets.qmp, "+1G", "--snapshots", "none"
    ).document
    assert "point of no return: grow-filesystem" in str(without["notes"])

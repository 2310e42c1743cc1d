"""A running guest that fills up grows before it is full, several times, up to its maximum."""

from __future__ import annotations

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.process import Answer, Host
from tests.guests.classic import DISK_SIZE
from tests.online.inside import assert_nothing_lost, boot_id, fill, sizes, start_writer
from tests.online.machine import LiveGuest

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(3600)]

MAXIMUM = DISK_SIZE + 3 * GiB // 2


def test_a_guest_that_fills_up_grows_before_it_is_full_and_never_beyond_its_maximum(
    scsi_guest: LiveGuest, host: Host
) -> None:
    guest, first = scsi_guest, boot_id(scsi_guest)
    start_writer(guest)
    assert by_rule(host, guest).result == "nochange"
    grown = []
    for number in range(5):
        fill(guest, f"/root/filler{number}")
        answer = by_rule(host, guest)
        assert answer.code == 0, answer
        if answer.result == "nochange":
            assert "has its largest size already" in answer.document["reason"]
            break
        grown.append(sizes(guest)["sda"])
        assert by_rule(host, guest).result == "nochange"
    assert grown == [DISK_SIZE + GiB, MAXIMUM]
    listed = host.growdisk("list", guest.image).document["disks"][0]
    assert (listed["state"], listed["root"]["name"]) == ("running", "/")
    assert listed["root"]["source"] == "agent"
    assert listed["virtual_size"] == MAXIMUM
    assert boot_id(guest) == first
    assert_nothing_lost(guest)


def test_a_full_host_is_refused_and_the_guest_goes_on(scsi_guest: LiveGuest, host: Host) -> None:
    guest = scsi_guest
    fill(guest, "/root/filler")
    answer = by_rule(host, guest, "--keep-host-free", "99.9%")
    assert (answer.code, answer.error["id"]) == (3, "host-would-fill")
    assert sizes(guest)["sda"] == DISK_SIZE


def by_rule(host: Host, guest: LiveGuest, *words: str) -> Answer:
    return host.growdisk(
        "expand", "--qmp", guest.sockets.qmp, "+1G", "--when-used", "85%",
        "--max-size", f"{MAXIMUM // MiB}M", *words,
    )  # fmt: skip

"""The user-data that `growdisk script` writes, at the first boot of a guest with a real cloud-init.

cloud-init's growpart can do nothing with the classic layout: it says so in the same boot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from growdisk.api.provisioning.seeding import seed_iso
from growdisk.units import GiB, MiB
from tests.e2e.process import Host
from tests.guests.classic import DISK_SIZE, SWAP_SIZE
from tests.guests.full import full_guest
from tests.guests.tools import run
from tests.online.grown import NEW_SIZE
from tests.online.inside import sizes, swaps
from tests.online.machine import LiveGuest, started

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(2400)]

_PATIENCE = 1200.0
_META = b"instance-id: iid-grown\nlocal-hostname: grown\n"
# growpart is asked before growdisk's scripts, which come at the end of the boot. The guest has no
# package locales.
_VENDOR = b"""\
#cloud-config
locale: false
bootcmd:
  - growpart --dry-run /dev/sda 1 >/run/growpart 2>&1 || echo "status $?" >>/run/growpart
"""
_PER_BOOT = "/var/lib/cloud/scripts/per-boot"


def test_the_first_boot_grows_what_growpart_cannot_and_the_second_changes_nothing(
    tmp_path: Path, host: Host
) -> None:
    image, seed = seeded(tmp_path, host)
    with booted(image, seed) as guest:
        report = guest.wait_for_report()
        said = asked(guest, "cloud-init status --long --wait; cat /run/growpart")
        assert "status: done" in said, said + log(guest)
        assert "NOCHANGE: partition 1 could only be grown by" in said and "status 1" in said
        assert_grown(guest)
        assert swaps(guest) == []
        assert (
            asked(guest, "cloud-init schema --system").strip()
            == "Valid cloud-config: system userdata"
        )
        assert report.failed_units == ()
        before = trace(guest)
        guest.power_off(600)
    with booted(image, seed) as guest:
        report = guest.wait_for_report()
        assert "status: done" in asked(guest, "cloud-init status --wait")
        assert_grown(guest)
        assert (report.failed_units, report.waits, report.swap) == ((), (), ())
        assert trace(guest) == before


def test_a_power_cut_in_the_first_boot_is_made_good_by_the_second(
    tmp_path: Path, host: Host
) -> None:
    image, seed = seeded(tmp_path, host, "--swap", "move")
    with booted(image, seed) as guest:
        guest.answer(rb"root@\S+:~# ", b"")
        asked(guest, "until grep -q 'rewrite: done' /var/log/growdisk.log; do sleep 0.1; done")
        guest.pull_the_plug()
    with booted(image, seed) as guest:
        guest.wait_for_report()
        assert "status: done" in asked(guest, "cloud-init status --wait"), log(guest)
        assert_grown(guest, SWAP_SIZE)
        assert swaps(guest) == ["/dev/sda5"]
        assert asked(guest, f"systemctl --failed --no-legend; ls {_PER_BOOT}") == ""


def test_a_disk_that_is_still_small_is_said_and_one_restart_after_it_has_grown_does_the_rest(
    tmp_path: Path, host: Host
) -> None:
    image, seed = seeded(tmp_path, host, size=DISK_SIZE)
    with booted(image, seed) as guest:
        guest.wait_for_report()
        assert "status: error" in asked(guest, "cloud-init status --wait --long || :")
        assert "its kernel still sees" in asked(guest, "cat /var/log/cloud-init-output.log")
        assert asked(guest, f"ls {_PER_BOOT}") == ""
        assert (sizes(guest)["sda"], swaps(guest)) == (DISK_SIZE, ["/dev/sda5"])
        guest.power_off(600)
    run("qemu-img", "resize", "-q", image, str(NEW_SIZE))
    with booted(image, seed) as guest:
        guest.wait_for_report()
        asked(guest, "until [ -e /var/lib/growdisk/*/finished ]; do sleep 1; done")
        assert_grown(guest)
        assert "status: done" in asked(guest, "cloud-init status --wait")
        assert (
            asked(guest, "find /etc/systemd -name '*growdisk*'; systemctl --failed --no-legend")
            == ""
        )


def seeded(folder: Path, host: Host, *words: str, size: int = NEW_SIZE) -> tuple[Path, Path]:
    """The guest with its disk made `size` and nothing else, and a seed from growdisk's files."""
    image = folder / "guest.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", full_guest(), "-F", "qcow2", image)
    written = host.growdisk("script", image, "+10G", *words, "-o", folder / "out")
    assert (written.code, written.result) == (0, "written"), written
    run("qemu-img", "resize", "-q", image, str(size))
    seed = folder / "seed.iso"
    files = {
        "user-data": (folder / "out" / "user-data").read_bytes(),
        "meta-data": _META,
        "vendor-data": _VENDOR,
    }
    seed.write_bytes(seed_iso(files, 0))
    return image, seed


@contextmanager
def booted(image: Path, seed: Path) -> Iterator[LiveGuest]:
    disk = f"if=none,id=seed,file={seed},format=raw,readonly=on"
    with started(image, more=("-drive", disk, "-device", "scsi-cd,drive=seed")) as guest:
        yield guest


def asked(guest: LiveGuest, command: str) -> str:
    return guest.run(command, _PATIENCE)


def log(guest: LiveGuest) -> str:
    return asked(
        guest,
        "cd /var/log; cat growdisk.log cloud-init-output.log; grep -i warn cloud-init.log || :",
    )


def assert_grown(guest: LiveGuest, kept_free: int = 0) -> None:
    seen = sizes(guest)
    assert seen["sda"] == NEW_SIZE
    assert NEW_SIZE - kept_free - 4 * MiB <= seen["sda1"] <= NEW_SIZE - kept_free - MiB
    assert seen["/"] > NEW_SIZE - kept_free - GiB


def trace(guest: LiveGuest) -> str:
    """Where a second run would leave something."""
    return asked(guest, f"sfdisk -d /dev/sda; cat /var/log/growdisk.log /etc/fstab; ls {_PER_BOOT}")

"""A real libvirt machine on a real logical volume: both exist only in a host of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import REPAIRED, Before, assert_filesystem, assert_grown
from tests.guest_scripts.micro import EXT, UTIL_LINUX, kernel, root_files
from tests.guests.content import directory, text
from tests.guests.manifest import differences, file_manifest
from tests.guests.small import SmallDisk, make_disk
from tests.hosts.libvirt import URI, VIRSH, VOLUME, libvirt_host
from tests.hosts.machine import NEW, OLD, HostMachine

pytestmark = [pytest.mark.appliance, pytest.mark.timeout(900)]
_LIVE = ("-d", "web01", "-c", URI, "--online", "agent")
_AGENT = (
    '#!/bin/sh\nqemu-ga --daemonize --path="$(ls /dev/vport*p1)" --statedir=/run '
    "--pidfile=/run/agent.pid\n"
)
_UP = f"""
tries=0
until {VIRSH} qemu-agent-command web01 '{{"execute": "guest-ping"}}' >/dev/null 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 300 ] || {{ cat /run/console >&2; exit 1; }}; sleep 1
done
"""


def test_a_volume_that_a_machine_of_libvirt_has_is_in_use_until_it_is_off(
    before: Before, tmp_path: Path
) -> None:
    with libvirt_host(before.copy, tmp_path) as host:
        host.sh(f"{VIRSH} start web01")
        pid = host.sh("pgrep qemu-system")
        node, own = (
            host.sh(f"stat -c %i {root}/dev/mapper/vg0-web01") for root in ("", f"/proc/{pid}/root")
        )
        assert node != own  # so no lock that QEMU takes is seen on the host's node
        for name in (VOLUME, "/dev/mapper/vg0-web01"):
            answer = host.growdisk("expand", name, "+64M")
            assert (answer.code, f"(pid {pid})" in str(answer.error["why"])) == (3, True), answer
            assert "growdisk expand -d web01 +64M" in str(answer.error["do"])
        assert host.size(VOLUME) == OLD
        host.sh(f"{VIRSH} destroy web01")
        answer = host.growdisk("expand", "-d", "web01", "-c", URI, "+64M")
        assert (answer.code, answer.result) == (0, "changed"), answer
        assert_grown(host.content(VOLUME, "grown.raw"), before)


@pytest.fixture
def guest(tmp_path: Path) -> Before:
    """A guest that starts, with QEMU's agent in it."""
    files = root_files((*UTIL_LINUX, *EXT, "qemu-ga"))
    own = (directory("var/run"), text("etc/rc.local", _AGENT, 0o755))
    disk = SmallDisk(size=OLD, swap_size=16 * MiB, image_format="raw", extra_files=(*files, *own))
    return Before.of(make_disk(tmp_path / "running.raw", disk), "raw")


@pytest.mark.slow
def test_a_running_machine_grows_with_its_volume_and_takes_up_what_the_host_has_added(
    guest: Before, tmp_path: Path
) -> None:
    """The host's volume first, then QEMU, then the guest; and back from the middle of that."""
    with libvirt_host(guest.copy, tmp_path, kernel=kernel()) as host:
        host.sh(f"{VIRSH} start web01; {_UP}")
        host.growdisk_killed("expand", *_LIVE, "+64M", at="reread-partitions")
        assert host.size(VOLUME) == NEW
        assert host.growdisk("rollback", VOLUME).code == 0
        assert (host.size(VOLUME), _sees(host)) == (OLD, OLD)

        answer = host.growdisk("expand", *_LIVE, "+64M")
        assert (answer.code, answer.result) == (0, "changed"), answer
        assert (host.size(VOLUME), _sees(host)) == (NEW, NEW)

        host.sh(f"lvm lvextend -q -L 256M {VOLUME} >/dev/null")
        assert _sees(host) == NEW  # QEMU does not look by itself
        answer = host.growdisk("expand", *_LIVE)
        assert (answer.code, answer.result) == (0, "changed"), answer
        assert _sees(host) == 256 * MiB
        assert host.growdisk("expand", *_LIVE).result == "nochange"

        refused = host.growdisk("expand", *_LIVE, "+4G")
        assert (refused.code, refused.error["id"]) == (3, "storage-full"), refused
        assert _sees(host) == 256 * MiB
        host.sh(
            f"""{VIRSH} qemu-agent-command web01 '{{"execute": "guest-fsfreeze-freeze"}}'; {VIRSH} destroy web01"""  # noqa: E501
        )
        grown = host.content(VOLUME, "grown.raw")
        assert_filesystem(grown, MiB, 255 * MiB)
        found = differences(guest.files, file_manifest(grown, "raw", 1), aside=REPAIRED)
        # it has run
        assert [
            line for line in found if "mtime" not in line and not line.startswith("/var/")
        ] == []


def _sees(host: HostMachine) -> int:
    """The size that QEMU gives its guest."""
    return int(host.sh(f"{VIRSH} domblkinfo web01 vda | sed -n 's/^Capacity: *//p'"))

"""growdisk's timer under a real systemd: on a Debian with the package a full disk grows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from growdisk.units import MiB
from tests.docs.pages import blocks
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.packaging.booted_debian import BootedDebian, booted_debian
from tests.packaging.clean_debian import ROOT

pytestmark = [
    pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="building the package needs root"),
]  # fmt: skip
RULES = """\
rules:
  - images: /srv/*.qcow2
    when_used: 0.5%
    step: 64M
    max_size: 400M
    min_interval: 0s
"""
UNITS = "/lib/systemd/system/growdisk-watch.service /lib/systemd/system/growdisk-watch.timer"
METRICS = "/run/growdisk/watch.prom"


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[BootedDebian]:
    """With the package and a full disk; its timer is not started."""
    run(ROOT / "setup/deb.sh", tmp_path)
    disk = make_disk(tmp_path / "web01.qcow2", SmallDisk())
    (tmp_path / "watch.yml").write_text(RULES)
    with booted_debian(tmp_path) as hypervisor:
        hypervisor.bring(next(tmp_path.glob("growdisk_*.deb")), disk, tmp_path / "watch.yml")
        hypervisor.sh(
            "dpkg --install /root/growdisk_*.deb; mkdir -p /srv; mv /root/web01.qcow2 /srv"
        )
        yield hypervisor


def test_the_timer_grows_a_full_disk_and_tells_of_it(hypervisor: BootedDebian) -> None:
    sh = hypervisor.sh
    assert sh(f"systemd-analyze verify --man=no {UNITS}") == ""
    sh("ls /usr/share/man/man1/growdisk-watch.1.gz")
    # Nobody's disks grow before somebody has written rules.
    assert sh("systemctl is-enabled growdisk-watch.timer || true") == "disabled"
    sh(recipe())

    assert round_of(hypervisor, 1) == ("success", 0)
    assert "/srv/web01.qcow2: grown: 256.0 MiB -> 320.0 MiB" in sh(
        "journalctl -o cat -u growdisk-watch"
    )
    grown = json.loads(sh("growdisk list --json /srv/web01.qcow2"))["disks"][0]
    assert (grown["virtual_size"], size_by_metrics(hypervisor)) == (320 * MiB, 320 * MiB)
    assert grown["root"]["size"] > 300 * MiB
    assert "growdisk-watch.service" in sh("systemctl list-timers --no-legend growdisk-watch.timer")

    sh("echo broken >/srv/broken.qcow2; systemctl start --no-block growdisk-watch")
    assert round_of(hypervisor, 2) == ("exit-code", 3)
    assert sh("systemctl is-failed growdisk-watch") == "failed"
    assert "/srv/broken.qcow2: refused: " in sh("journalctl -o cat -u growdisk-watch")
    assert size_by_metrics(hypervisor) == 384 * MiB
    sh("systemctl is-active growdisk-watch.timer; growdisk image check /srv/web01.qcow2")


def recipe() -> str:
    """The lines of docs/fleet.md, with rules that are edited already."""
    (block,) = [
        block for block in blocks(ROOT / "docs/fleet.md") if "systemctl enable" in block.body
    ]
    lines = [line.replace("editor", "mv /root/watch.yml") for line in block.commands]
    assert len(lines) == 5 and lines[-1] == "sudo systemctl enable --now growdisk-watch.timer"
    return "; ".join(lines)


def round_of(hypervisor: BootedDebian, number: int) -> tuple[str, int]:
    """How that round ended, once it has: systemd's word, and its exit code."""
    end = time.monotonic() + 300
    while hypervisor.sh(
        "journalctl -o cat -u growdisk-watch | grep -c 'disks\\? in' || true"
    ) != str(number):
        assert time.monotonic() < end, hypervisor.sh(
            "journalctl -u 'growdisk-watch*' --no-pager; systemctl list-timers"
        )
        time.sleep(1)
    while "activating" in hypervisor.sh("systemctl is-active growdisk-watch || true"):
        time.sleep(1)
    lines = hypervisor.sh("systemctl show -p Result -p ExecMainStatus growdisk-watch").splitlines()
    told = dict(line.split("=") for line in lines)
    return told["Result"], int(told["ExecMainStatus"])


def size_by_metrics(hypervisor: BootedDebian) -> float:
    families = {f.name: f for f in text_string_to_metric_families(hypervisor.sh(f"cat {METRICS}"))}
    sizes = {
        sample.labels["disk"]: sample.value
        for sample in families["growdisk_disk_size_bytes"].samples
    }
    return sizes["/srv/web01.qcow2"]

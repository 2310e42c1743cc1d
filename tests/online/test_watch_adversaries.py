"""A round of growdisk watch with guests whose agents lie or hang: none stops the others."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from growdisk.units import MiB
from tests.e2e.judges import virtual_size
from tests.e2e.process import Host
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.online import evil_agent as evil
from tests.online.machine import bare_machine

pytestmark = pytest.mark.timeout(600)

EVIL = (
    evil.silent, evil.garbage, evil.deep, evil.endless, evil.absurd, evil.of_another_disk,
    evil.plausible,
)  # fmt: skip
RULES = """\
rules:
  - images: "*.qcow2"
    when_used: 0.5%
    step: 64M
    min_interval: 0s
    keep_host_free: 0%
    timeout: TIME
"""


@pytest.mark.parametrize(
    ("agents", "seconds"),
    [(EVIL, 300), pytest.param((evil.dumb,), 12, marks=pytest.mark.slow)],
    ids=["many", "dumb"],
)
def test_agents_that_lie_or_hang_grow_nothing_and_stop_nobody(
    agents: tuple[evil.Reply, ...], seconds: int, tmp_path: Path, host: Host
) -> None:
    (tmp_path / "rules.yml").write_text(RULES.replace("TIME", f"{seconds}s"))
    first = make_disk(tmp_path / "full.qcow2", SmallDisk())
    guests = {reply.__name__: tmp_path / f"{reply.__name__}.qcow2" for reply in agents}
    for image in guests.values():
        run("cp", "--sparse=always", first, image)
    with ExitStack() as stack:
        for reply, image in zip(agents, guests.values(), strict=True):
            machine = stack.enter_context(bare_machine(image))
            stack.enter_context(evil.evil_agent(machine.sockets.agent, reply))
        answer = host.growdisk(
            "watch", tmp_path / "rules.yml", "-j", "9", "--metrics", tmp_path / "out.prom"
        )
        assert "disks" in answer.document, answer
        disks = {Path(str(disk["path"])).stem: disk for disk in answer.document["disks"]}  # type: ignore[attr-defined]
        host.assert_quiet()
    assert disks.pop("full")["result"] == "grown"
    assert {name: disk["result"] for name, disk in disks.items()} == dict.fromkeys(
        guests, "refused"
    )
    assert answer.code == 3
    # a minute later it is killed
    assert max(float(disk["seconds"]) for disk in disks.values()) < seconds + 90
    assert {virtual_size(image) for image in guests.values()} == {256 * MiB}
    assert virtual_size(first) == 320 * MiB
    families = {
        f.name: f for f in text_string_to_metric_families((tmp_path / "out.prom").read_text())
    }
    assert len(families["growdisk_disk_last_code"].samples) == len(agents) + 1
    assert all(
        0 <= sample.value <= 1 for sample in families["growdisk_filesystem_fullness_ratio"].samples
    )

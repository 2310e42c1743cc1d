"""An image of a real one-node Ceph, mapped by the kernel: grown, taken back, resumed, in use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.hosts.ceph import CLIENT_COMES, CLIENT_GOES, ceph_host
from tests.hosts.machine import NEW, OLD, STATE, HostMachine

pytestmark = [pytest.mark.appliance, pytest.mark.timeout(900)]
_ANOTHER = "another client of the Ceph cluster (127.0.0.1:"
# growdisk by its API: a client comes when the step that rewrites the table is about to begin.
_DISTURBED = """
import pathlib, subprocess, sys
from growdisk import api

class Disturber:
    def step_started(self, number, total, name, description):
        if name == "rewrite-partitions":
            subprocess.run(["sh", "-c", pathlib.Path("/exchange/comes").read_text()], check=True)
    def step_said(self, line): pass
    def step_ended(self, name, state, seconds, detail): pass

result = api.expand("/dev/rbd0", api.Goal(api.parse_size("+64M")), api.RunOptions(), observer=Disturber())
print(result.result, result.error)
"""  # noqa: E501


@pytest.fixture
def host(before: Before, tmp_path: Path) -> Iterator[HostMachine]:
    with ceph_host(before.copy, tmp_path) as machine:
        yield machine


@pytest.mark.slow
def test_an_image_of_ceph_is_grown_and_taken_back_and_is_in_use_if_another_client_has_it(
    host: HostMachine, before: Before
) -> None:
    host.sh(CLIENT_COMES)
    answer = host.growdisk("expand", "/dev/rbd0", "+64M")
    assert (answer.code, _ANOTHER in str(answer.error["why"])) == (3, True), answer
    assert host.size("/dev/rbd0") == OLD
    host.sh(CLIENT_GOES)
    answer = host.growdisk("expand", "/dev/rbd0", "+64M", "--keep-snapshots")
    assert (answer.code, host.size("/dev/rbd0")) == (0, NEW), answer
    assert host.growdisk("rollback", "/dev/rbd0").code == 0
    assert host.size("/dev/rbd0") == OLD
    assert_unchanged(host.content("/dev/rbd0", "restored.raw"), before)
    host.growdisk_killed("expand", "/dev/rbd0", "+64M", at="grow-filesystem")
    host.sh(
        "rbd unmap --options noudev /dev/rbd0; rbd create --size 8 vms/other; "
        "for name in other web01; do rbd map --options noudev vms/$name >/dev/null; done"
    )
    assert host.growdisk("status", "/dev/rbd1").document["state"] == "unfinished"
    assert host.growdisk("resume", "/dev/rbd1").code == 0
    assert "rbd info" in host.sh("echo rbd info; rbd info vms/web01 | grep -q '192 MiB'")
    assert_grown(host.content("/dev/rbd1", "grown.raw"), before)


@pytest.mark.slow
def test_a_client_of_the_cluster_that_comes_during_a_run_stops_the_next_step(
    host: HostMachine, before: Before
) -> None:
    (host.exchange / "comes").write_text(CLIENT_COMES)
    (host.exchange / "disturbed.py").write_text(_DISTURBED)
    said = host.sh(
        f"PYTHONPATH=/exchange/python GROWDISK_STATE_DIR={STATE} python3 /exchange/disturbed.py"
    )
    assert _ANOTHER in said, said
    host.sh(CLIENT_GOES)
    if host.growdisk("status", "/dev/rbd0").document["state"] == "unfinished":
        assert host.growdisk("rollback", "/dev/rbd0").code == 0
    assert host.size("/dev/rbd0") == OLD
    assert_unchanged(host.content("/dev/rbd0", "restored.raw"), before)

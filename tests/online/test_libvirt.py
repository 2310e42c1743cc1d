"""Machines of a real libvirt: found by name, grown offline when off, online when running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.boot import boot
from tests.e2e.process import Host
from tests.guests.classic import DISK_SIZE
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.online.libvirtd import Domain, domain, libvirtd, power_off, virsh, wait_for_agent
from tests.unit.cli.command import fingerprint

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module", autouse=True)
def _libvirt() -> Iterator[None]:
    with libvirtd():
        yield


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Domain]:
    """A machine with a small disk that nothing boots from; off."""
    image = make_disk(tmp_path / "small.qcow2", SmallDisk())
    with domain(image, boots=False) as machine:
        yield machine


def test_an_unknown_name_is_refused_with_the_known_ones(small: Domain, host: Host) -> None:
    answer = host.growdisk("expand", "-d", "nobody", "+1G")
    assert (answer.code, small.name in str(answer.error["why"])) == (3, True), answer


def test_an_unreachable_libvirt_is_refused(host: Host) -> None:
    answer = host.growdisk("show", "-d", "web01", "-c", "qemu+unix:///system?socket=/nowhere")
    assert (answer.code, "/nowhere" in str(answer.error["what"])) == (3, True), answer


def test_a_machine_that_is_off_goes_the_offline_way(small: Domain, host: Host) -> None:
    plan = host.growdisk("plan", "-d", small.name, "+1G").document
    assert plan["result"] == "planned" and plan["backend"] != "online", plan
    assert host.growdisk("show", "-d", small.name, "--disk", "vda").document["image"][
        "path"
    ] == str(small.image)
    assert host.growdisk("show", "-d", small.name, "--disk", "vdz").code == 3
    assert host.growdisk("status", "-d", small.name).document["state"] == "none"


def test_a_base_is_known_by_the_machine_whose_disk_lies_on_it(host: Host, tmp_path: Path) -> None:
    """The overlay lies in another folder, where nobody would look for it."""
    base = make_disk(_folder(tmp_path / "bases") / "base.qcow2", SmallDisk())
    middle = _folder(tmp_path / "middle") / "middle.qcow2"
    top = _folder(tmp_path / "machines") / "top.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", middle)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", middle, "-F", "qcow2", top)
    assert host.growdisk("plan", base, "+1G").code == 0
    with domain(top, boots=False) as machine:
        for verb in ("plan", "expand"):
            answer = host.growdisk(verb, base, "+1G")
            assert answer.code == 3, answer
            assert f"{middle} (of the machine {machine.name})" in str(answer.error["why"]), answer
            assert f"{top} (of the machine {machine.name})" in str(answer.error["why"]), answer
        assert host.growdisk("show", base).document["overlays"]
        assert host.growdisk("plan", top, "+1G").code == 0


def test_a_base_is_known_by_the_pool_in_which_an_overlay_lies(host: Host, tmp_path: Path) -> None:
    base = make_disk(_folder(tmp_path / "bases") / "base.qcow2", SmallDisk())
    top, pool = _folder(tmp_path / "pool") / "top.qcow2", f"growdisk-test-{tmp_path.name}"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    virsh("pool-create-as", pool, "dir", "--target", str(top.parent))
    try:
        answer = host.growdisk("image", "resize", base, "+1G")
        assert (answer.code, str(top) in str(answer.error["why"])) == (3, True), answer
    finally:
        virsh("pool-destroy", pool)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_machine_that_runs_without_agent_is_refused_and_named_where_its_image_is(
    small: Domain, host: Host
) -> None:
    small.virsh("start")
    answer = host.growdisk("expand", "-d", small.name, "+1G")
    assert (answer.code, "guest agent" in str(answer.error["what"])) == (3, True), answer
    by_path = host.growdisk("expand", small.image, "+1G")
    assert by_path.code == 3, by_path
    assert f"growdisk expand -d {small.name} +1G works" in str(by_path.error["do"]), by_path
    small.virsh("suspend")
    assert "paused" in str(host.growdisk("expand", "-d", small.name, "+1G").error["what"])


def test_a_machine_whose_memory_is_saved_keeps_its_disk_as_it_is(
    small: Domain, host: Host, tmp_path: Path
) -> None:
    """Also where its disk lies on the image. Given up, the memory is as after a power cut."""
    top = tmp_path / "top.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", small.image, "-F", "qcow2", top)
    with domain(top, boots=False) as upper:
        for each in (small, upper):
            each.virsh("start")
            each.virsh("managedsave")
            assert each.state() == "shut off"
        before = fingerprint(top)
        for words in (
            ("plan", top, "+64M"),
            ("expand", top, "+64M"),
            ("image", "resize", top, "+64M"),
        ):
            answer = host.growdisk(*words)
            assert (answer.code, answer.error["id"]) == (3, "memory-saved"), answer
            assert fingerprint(top) == before, answer
            assert f"virsh start {upper.name}" in str(answer.error["do"])
        small.virsh("managedsave-remove")
        for words in (("expand", small.image, "+64M"), ("image", "resize", small.image, "+64M")):
            answer = host.growdisk(*words, "--overlays-may-break")
            assert (answer.code, answer.error["id"]) == (3, "memory-saved"), answer
        upper.virsh("managedsave-remove")
        assert host.growdisk("expand", top, "+64M").result == "changed"


@pytest.mark.slow
@pytest.mark.parametrize(("target", "bus"), [("vda", "virtio"), ("sda", "scsi")])
def test_a_running_machine_grows_by_its_name(
    classic_copy: Path, tmp_path: Path, host: Host, target: str, bus: str
) -> None:
    with domain(classic_copy, target=target, bus=bus) as machine:
        machine.virsh("start")
        wait_for_agent(machine)
        answer = host.growdisk("expand", "-d", machine.name, "+10G")
        assert (answer.code, answer.result) == (0, "changed"), answer
        assert answer.document["after"]["partitions"][0]["size"] == DISK_SIZE + 10 * GiB - MiB
        assert machine.state() == "running"
        assert str(DISK_SIZE + 10 * GiB) in machine.virsh("domblkinfo", target)
        assert host.growdisk("status", "-d", machine.name).document["state"] == "done"
        power_off(machine)
    run("qemu-img", "check", "-q", classic_copy)
    report = boot(classic_copy)
    assert (report.failed_units, report.waits) == ((), ())

"""Hosts that are libvirt machines, and guests that need the appliance: LVM, LVM in LUKS."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import Before, assert_grown, assert_sound, virtual_size
from tests.guests.layered import KEYS, layered_guests
from tests.guests.tools import run
from tests.online.libvirtd import domain, libvirtd
from tests.playbooks.conftest import Place


@pytest.mark.boot  # it shares libvirtd with those that do boot
def test_a_machine_of_libvirt_that_is_off_is_a_host(place: Place) -> None:
    image = place.disk()
    before = Before.of(image)
    with libvirtd(), domain(image, boots=False) as machine:
        ended = place.run(
            Path("expand-root"), "-e", f"target=domain:{machine.name}", "-e", "size=+64M"
        )
        nobody = place.run(Path("expand-root"), "-e", "target=domain:nobody-at-all")
    assert (ended.code, ended.json()["hosts"][0]["host"]) == (0, f"domain:{machine.name}"), ended
    assert_grown(image, before)
    assert (nobody.code, "knows no machine" in nobody.json()["error"]["what"]) == (3, True), nobody


@pytest.mark.slow
@pytest.mark.appliance
def test_a_logical_volume_is_expanded_in_a_partition_and_in_a_container(place: Place) -> None:
    for name in ("lvm", "luks2"):
        run(
            "qemu-img", "convert", "-O", "qcow2", layered_guests() / f"{name}.raw",
            place.folder / f"{name}.qcow2",
        )  # fmt: skip
    (place.folder / "key").write_bytes(KEYS["luks2"])
    sizes = {name: virtual_size(place.folder / f"{name}.qcow2") for name in ("lvm", "luks2")}
    ended = place.run(
        Path("expand-lvm"), "-e", "target=*.qcow2", "-e", "size=+128M", "-e", "key_file=key",
        "-j", "2",
    )  # fmt: skip
    assert (ended.code, ended.json()["summary"]["changed"]) == (0, 2), ended
    for name, size in sizes.items():
        image = place.folder / f"{name}.qcow2"
        assert virtual_size(image) == size + 128 * MiB
        assert_sound(image)
        host = next(each for each in ended.json()["hosts"] if each["host"] == image.name)
        steps = {step["name"]: step["state"] for step in host["tasks"][0]["result"]["steps"]}
        assert [steps[name] for name in ("grow-pv", "grow-lv", "grow-filesystem")] == [
            "done"
        ] * 3, steps
        assert ("grow-luks" in steps) == (name == "luks2")

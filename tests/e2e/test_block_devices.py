"""Runs on block devices: recorded under a lasting name, grown from host storage, taken back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.crash.full_host import fill, make_room, small_file_system
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.process import PATIENCE, Host, await_true
from tests.guests.layouts import Layout
from tests.guests.loops import loop, mounted, unmount
from tests.guests.small import SmallDisk
from tests.guests.tools import run
from tests.unit.cli.command import fingerprint

OLD, NEW = 128 * MiB, 192 * MiB


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    wanted = SmallDisk(layout=Layout.CLASSIC, size=OLD, swap_size=16 * MiB, image_format="raw")
    return small_disk("guest.raw", wanted)


@pytest.fixture
def before(image: Path) -> Before:
    return Before.of(image, "raw")


@pytest.fixture(autouse=True)
def state(host: Host, tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    folder = tmp_path / "state"
    host.environment |= {"GROWDISK_STATE_DIR": str(folder)}
    return folder


@pytest.fixture
def device(image: Path, before: Before) -> Iterator[Path]:
    with loop(image) as path:
        yield path


def device_size(device: Path) -> int:
    return int(run("blockdev", "--getsize64", device))


def test_a_loop_device_grows_with_its_file_and_leaves_nothing_beside_it(
    host: Host, device: Path, image: Path, before: Before, state: Path
) -> None:
    plan = host.growdisk("plan", device, "+64M")
    assert f"loop device on {image}" in str(plan.document["steps"]), plan
    answer = host.growdisk("expand", device, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert (device_size(device), image.stat().st_size) == (NEW, NEW)
    assert_grown(image, before)
    assert [path.name for path in device.parent.glob("*.growdisk")] == []
    assert list((state / "runs").iterdir()) == []
    assert host.growdisk("status", device).document["state"] == "done"


def test_taking_a_kept_run_back_gives_the_device_exactly_its_old_size(
    host: Host, device: Path, image: Path, before: Before
) -> None:
    assert host.growdisk("expand", device, "+64M", "--keep-snapshots").code == 0
    answer = host.growdisk("rollback", device)
    assert (answer.code, answer.result) == (0, "restored"), answer
    assert (device_size(device), image.stat().st_size) == (OLD, OLD)
    assert_unchanged(image, before)


@pytest.mark.parametrize("verb", ["resume", "rollback", "commit"])
def test_a_device_that_has_become_read_only_is_refused_before_anything_of_its_run_is_lost(
    host: Host, device: Path, before: Before, image: Path, state: Path, verb: str
) -> None:
    command = host.start("expand", device, "+64M", "--keep-snapshots")
    await_true(
        lambda: b'"step": "grow-filesystem"' in recorded(state), PATIENCE, "the file system grows"
    )
    command.kill()
    host.assert_quiet()
    run("blockdev", "--setro", device)
    try:
        refused = host.growdisk(verb, device)
    finally:
        run("blockdev", "--setrw", device)  # it would stay so for the next file
    assert (refused.code, refused.error["id"]) == (3, "device-read-only"), refused
    assert host.growdisk("rollback", device).code == 0
    assert_unchanged(image, before)


def test_new_room_that_others_may_have_taken_is_not_given_back(
    host: Host, device: Path, image: Path
) -> None:
    assert host.growdisk("expand", device, "+64M", "--keep-snapshots").code == 0
    os.truncate(image, NEW + MiB)
    run("losetup", "--set-capacity", device)
    answer = host.growdisk("rollback", device)
    assert answer.code == 5, answer
    assert "somebody else has changed its size" in str(answer.error["why"]), answer
    assert device_size(device) == NEW + MiB


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_a_run_that_was_cut_short_is_found_again_under_another_name_of_the_device(
    host: Host, image: Path, before: Before, tmp_path: Path, state: Path, verb: str
) -> None:
    with loop(image) as first:
        command = host.start("expand", first, "+64M")
        await_true(
            lambda: b'"step": "grow-filesystem"' in recorded(state),
            PATIENCE,
            "the file system grows",
        )
        command.kill()
        host.assert_quiet()
    beside = host.growdisk("expand", image, "+8M")
    assert (beside.code, "an unfinished run" in str(beside.error["what"])) == (3, True), beside
    # the first number may be taken
    with loop(tmp_path / "before-guest.raw"), loop(image) as second:
        assert host.growdisk("status", second).document["state"] == "unfinished"
        answer = host.growdisk(verb, second)
        assert answer.code == 0, answer
        assert device_size(second) == (NEW if verb == "resume" else OLD)
    if verb == "resume":
        assert_grown(image, before)
    else:
        assert_unchanged(image, before)


def recorded(state: Path) -> bytes:
    return b"".join(file.read_bytes() for file in state.glob("runs/*/journal.jsonl"))


def test_a_run_is_not_kept_in_the_hosts_memory(
    host: Host, device: Path, image: Path, tmp_path: Path
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    run("mount", "-t", "tmpfs", "none", memory)
    try:
        for verb in ("plan", "expand"):
            refused = host.growdisk(verb, device, "+64M", "--state-dir", memory)
            assert (refused.code, "tmpfs" in str(refused.error["why"])) == (3, True), refused
        assert device_size(device) == OLD
        assert (
            host.growdisk(
                "expand", device, "+64M", "--state-dir", memory, "--snapshots", "none"
            ).code
            == 0
        )
    finally:
        run("umount", memory)


def test_memory_below_another_file_system_is_memory_too(
    host: Host, device: Path, tmp_path: Path
) -> None:
    """A live system writes to an overlay whose upper folder is on tmpfs."""
    memory, place = tmp_path / "memory", tmp_path / "overlay"
    memory.mkdir()
    run("mount", "-t", "tmpfs", "none", memory)
    try:
        for name in ("lower", "upper", "work"):
            (memory / name).mkdir()
        options = ",".join(f"{name}dir={memory / name}" for name in ("lower", "upper", "work"))
        run("truncate", "-s", "200M", memory / "disk")
        run("mkfs.ext4", "-q", memory / "disk")
        for kind in (("-t", "overlay", "-o", options), ("-o", "loop")):
            with mounted(memory / "disk", place, *kind):
                refused = host.growdisk("plan", device, "+64M", "--state-dir", place / "state")
            assert (refused.code, refused.error["id"]) == (3, "state-in-memory"), refused
    finally:
        unmount(memory)


def test_a_folder_without_room_for_the_run_is_refused(
    host: Host, device: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.raw"
    run("truncate", "-s", "32M", small)
    run("mkfs.ext4", "-qF", small)
    with mounted(small, tmp_path / "small", "-o", "loop") as place:
        refused = host.growdisk("plan", device, "+64M", "--state-dir", place)
        assert (refused.code, "free" in str(refused.error["why"])) == (3, True), refused


def test_what_cannot_grow_is_refused_in_the_plan(
    host: Host, image: Path, before: Before, tmp_path: Path
) -> None:
    with loop(image, "--sizelimit", str(OLD)) as limited:
        for verb in ("plan", "expand"):
            refused = host.growdisk(verb, limited, "+64M")
            assert (refused.code, "size limit" in str(refused.error["why"])) == (3, True), refused
            assert "without SIZE" in str(refused.error["do"])
    with loop(image) as lower, loop(lower) as upper:
        assert "lies on" in str(host.growdisk("plan", upper, "+64M").error["why"])
    with loop(image, "--read-only") as fixed:
        assert "read-only" in str(host.growdisk("plan", fixed).error["why"])
    assert_unchanged(image, before)
    with image.open("ab") as file:
        file.write(b"tail")
    with loop(image) as odd:
        assert "4 bytes that are no whole sector" in str(
            host.growdisk("plan", odd, "+64M").error["why"]
        )


def test_bytes_of_its_file_that_a_loop_device_does_not_show_are_never_cut_off(
    host: Host, device: Path, image: Path, before: Before
) -> None:
    run("truncate", "-s", str(2 * NEW), image)
    for verb in ("plan", "expand"):
        refused = host.growdisk(verb, device, "+64M")
        assert (refused.code, "256.0 MiB" in str(refused.error["why"])) == (3, True), refused
        assert f"losetup -c {device}" in str(refused.error["do"])
    run("truncate", "-s", str(OLD), image)
    assert host.growdisk("expand", device, "+64M", "--keep-snapshots").code == 0
    run("truncate", "-s", str(2 * NEW), image)
    failed = host.growdisk("rollback", device)
    assert (failed.code, "192.0 MiB" in str(failed.document)) == (5, True), failed
    assert (device_size(device), image.stat().st_size) == (NEW, 2 * NEW)
    run("truncate", "-s", str(NEW), image)
    assert host.growdisk("rollback", device).code == 0
    assert_unchanged(image, before)


def test_a_loop_device_whose_file_has_no_room_is_refused_in_the_plan(
    host: Host, image: Path, tmp_path: Path, state: Path
) -> None:
    """Its file is sparse, and grows all the same; the last step would fail by a device error."""
    with small_file_system(tmp_path / "small", "ext4", 64 * MiB) as place:
        run("cp", "--sparse=always", image, place)
        with loop(place / image.name) as device:
            unfilled = host.growdisk("plan", device, "+1G", "--when-used", "1%")
            assert (unfilled.code, unfilled.error["id"]) == (3, "host-would-fill"), unfilled
            fill(place)
            for verb in ("plan", "expand"):
                refused = host.growdisk(verb, device, "+1G")
                assert (refused.code, refused.error["id"]) == (3, "host-too-full"), refused
            assert device_size(device) == OLD
            assert not list((state / "runs").glob("*"))
            make_room(place)
            assert host.growdisk("expand", device, "+1G").code == 0


def test_another_file_of_the_name_of_the_one_behind_a_loop_device_is_left_alone(
    host: Host, image: Path, tmp_path: Path
) -> None:
    """The kernel tells the file's name alone, and something may be mounted over its folder."""
    place = tmp_path / "place"
    place.mkdir()
    image = image.rename(place / "guest.raw")
    with loop(image) as device, mounted(Path("none"), place, "-t", "tmpfs"):
        run("truncate", "-s", str(5 * NEW), image)
        for verb in ("plan", "expand"):
            refused = host.growdisk(verb, device, "+64M")
            assert (refused.code, "or to another one" in str(refused.error["why"])) == (3, True), (
                refused
            )
        assert image.stat().st_size == 5 * NEW


def test_an_image_in_a_device_without_room_behind_it_is_told_how_much_is_missing(
    host: Host, image: Path, before: Before, tmp_path: Path
) -> None:
    """As oVirt has its disks: qcow2 in a volume that is just large enough."""
    packed, tight = tmp_path / "packed.qcow2", tmp_path / "tight"
    run("qemu-img", "convert", "-O", "qcow2", image, packed)
    length = json.loads(run("qemu-img", "check", "--output=json", packed))["image-end-offset"]
    tight.write_bytes(packed.read_bytes())
    os.truncate(tight, length + 128 * 1024)
    with loop(tight) as device:
        untouched = fingerprint(tight)
        for verb in ("plan", "expand"):
            refused = host.growdisk(verb, device, "+64G")
            assert refused.code == 3, refused
            assert "of it are not in use" in str(refused.error["why"]), refused
        assert fingerprint(tight) == untouched
        told = re.search(
            r"truncate --size (\+\d+M) (\S+); losetup --set-capacity (\S+?)\)",
            str(refused.error["do"]),
        )
        assert told is not None and (told[2], told[3]) == (str(tight), str(device)), refused
        run("truncate", "--size", told[1], tight)
        run("losetup", "--set-capacity", device)
        plan = host.growdisk("plan", device, "+64G")
        assert "before the guest has filled its disk" in str(plan.document["notes"]), plan
        os.truncate(tight, 256 * MiB)
        run("losetup", "--set-capacity", device)
        answer = host.growdisk("expand", device, "+64M")
        assert (answer.code, answer.result) == (0, "changed"), answer
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", device, tmp_path / "read.raw")
    assert_grown(tmp_path / "read.raw", before)


def test_nothing_of_a_finished_run_stays_beside_an_image_file(
    host: Host, image: Path, before: Before
) -> None:
    assert host.growdisk("expand", image, "+64M").code == 0
    assert not image.with_name("guest.raw.growdisk").exists()
    status = host.growdisk("status", image).document
    assert status["state"] == "done" and len(status["steps"]) >= 4, status  # type: ignore[arg-type]
    image.rename(image.with_name("another.raw"))
    run("cp", "--sparse=always", image.with_name("another.raw"), image)
    assert host.growdisk("status", image).document["state"] == "none"  # another image by that name

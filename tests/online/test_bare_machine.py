"""What QEMU (7.2) does on machines that run nothing: the reasons for growdisk's choices."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.api.live_request import LiveRequest
from growdisk.api.live_target import RunningGuest, reach, reconnect
from growdisk.errors import GrowdiskError
from growdisk.live.block_jobs import (
    delete,
    load_snapshot,
    merge_overlays,
    put_overlay,
    save,
)
from growdisk.live.live_disk import Arrival
from growdisk.live.qemu_machine import CommandRefused
from growdisk.qcow2.create import create
from growdisk.storage.device import resize_device
from growdisk.units import MiB
from tests.guests.loops import loop
from tests.guests.tools import run
from tests.online.bare import bare, image, second_disk
from tests.online.machine import bare_machine, started
from tests.refusals import raises
from tests.unit.cli.command import in_process

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("disk", ["scsi", "blk", "ide", "sata", "usb"])
def test_a_snapshot_brings_back_the_size_that_the_disk_had(tmp_path: Path, disk: str) -> None:
    with bare(tmp_path, disk) as (_, machine):
        key = machine.disks()[0].key
        save(machine, key, "one")
        machine.resize(key, 128 * MiB)
        save(machine, key, "two")
        load_snapshot(machine, key, "one")
        assert (machine.disk(key).size, machine.status()) == (64 * MiB, "running")
        assert machine.disk(key).snapshots == ("one", "two")
        for name in ("one", "two", "two"):
            delete(machine, name)
        assert machine.disk(key).snapshots == ()


def test_qemu_follows_a_device_of_the_host_up_and_back(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    with (
        loop(image(tmp_path, "raw")) as device,
        bare_machine(device, "raw") as guest,
        guest.monitor() as machine,
    ):
        key = machine.disks()[0].key
        resize_device(device, 128 * MiB)
        assert machine.disk(key).size == 64 * MiB  # QEMU does not look by itself
        machine.resize(key, 128 * MiB)
        assert machine.disk(key).size == 128 * MiB
        resize_device(device, 64 * MiB)
        machine.restore_size(key, 64 * MiB)
        assert (machine.disk(key).size, machine.status()) == (64 * MiB, "running")


@pytest.mark.parametrize("device", ["usb-storage", "scsi-hd", "ide-hd"])
def test_a_disk_goes_by_the_id_of_its_device(tmp_path: Path, device: str) -> None:
    drive = f"if=none,id=other,file={image(tmp_path, 'raw', name='more')},format=raw"
    words = (
        "-device",
        "qemu-xhci",
        "-drive",
        drive,
        "-device",
        f"{device},drive=other,id=stick,serial=s1",
    )
    with bare(tmp_path, "scsi", "qcow2", *words) as (_, machine):
        found = next(disk for disk in machine.disks() if "stick" in disk.names)
        assert (found.file, found.serial) == (str(tmp_path / "more.raw"), "s1")
        bus = {"usb-storage": "USB", "scsi-hd": "virtio-scsi", "ide-hd": "IDE or SATA"}[device]
        arrival = Arrival.AT_ONCE if bus == "virtio-scsi" else Arrival.RESTART
        assert (found.bus.name, found.bus.arrival) == (bus, arrival)


def test_nvme_is_neither_resized_nor_put_into_snapshots_by_qemu(tmp_path: Path) -> None:
    with bare(tmp_path, "nvme") as (_, machine):
        disk = machine.disks()[0]
        assert disk.bus.arrival is Arrival.NEVER
        with pytest.raises(CommandRefused):
            machine.resize(disk.key, 128 * MiB)
        with raises("job-failed"):
            save(machine, disk.key, "one")


def test_all_writable_disks_go_back_together(tmp_path: Path) -> None:
    with bare(tmp_path, "scsi", "qcow2", *second_disk(image(tmp_path, name="other"), "qcow2")) as (
        _,
        machine,
    ):
        save(machine, machine.disks()[0].key, "one")
        assert [disk.snapshots for disk in machine.disks()] == [("one",), ("one",)]


def test_a_raw_disk_beside_makes_the_snapshot_fail_instead_of_leaving_it_out(
    tmp_path: Path,
) -> None:
    with bare(
        tmp_path, "scsi", "qcow2", *second_disk(image(tmp_path, "raw", name="other"), "raw")
    ) as (_, machine):
        with raises("job-failed"):
            save(machine, machine.disks()[0].key, "one")
        assert machine.status() == "running"


def test_a_raw_pflash_is_no_hindrance_and_is_not_taken_for_a_disk(tmp_path: Path) -> None:
    """As UEFI guests have it for their variables: raw, and written to."""
    firmware = tmp_path / "firmware"
    firmware.write_bytes(Path("/usr/share/seabios/bios-256k.bin").read_bytes())
    pflash = ("-drive", f"if=pflash,unit=0,format=raw,file={firmware}")
    with bare(tmp_path, "scsi", "qcow2", *pflash) as (_, machine):
        (disk,) = machine.disks()
        save(machine, disk.key, "one")
        machine.resize(disk.key, 128 * MiB)
        load_snapshot(machine, disk.key, "one")
        assert (machine.disk(disk.key).size, machine.status()) == (64 * MiB, "running")


def test_a_load_that_fails_does_not_leave_the_machine_stopped(tmp_path: Path) -> None:
    with bare(tmp_path) as (_, machine):
        with raises("job-failed", match="not"):
            load_snapshot(machine, machine.disks()[0].key, "never-taken")
        assert machine.status() == "running"


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_overlays_are_merged_into_the_image_while_the_machine_runs(
    tmp_path: Path, kind: str
) -> None:
    with bare(tmp_path, "blk", kind) as (guest, machine):
        disk = machine.disks()[0]
        written = [(0, "0x11"), (1 * MiB, "0x22"), (100 * MiB, "0x33")]
        for number, (offset, pattern) in enumerate(written):
            overlay = tmp_path / f"{number}.qcow2"
            below = machine.disk(disk.key)
            run(
                "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", below.file,
                "-F", below.format, overlay, str(below.size),
            )  # fmt: skip
            put_overlay(machine, disk.key, overlay, f"layer-{number}")
            machine.resize(disk.key, 128 * MiB)
            words = f'qemu-io disk "write -P {pattern} {offset} 64k"'
            machine.monitor.execute("human-monitor-command", command_line=words)
        assert machine.files(disk.key)[-1] == str(guest.image)
        merge_overlays(machine, disk.key, disk.node)
        assert machine.disk(disk.key).file == str(guest.image)
        assert machine.disk(disk.key).size == 128 * MiB
    reads = [
        word for offset, pattern in written for word in ("-c", f"read -P {pattern} {offset} 64k")
    ]
    told = subprocess.run(
        ["qemu-io", "-f", kind, *reads, guest.image], capture_output=True, text=True
    ).stdout
    assert told.count("read 65536/65536") == 3 and "failed" not in told, told


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_overlay_that_has_another_name_for_its_image_is_known_by_its_file(
    tmp_path: Path, kind: str
) -> None:
    """QEMU then describes it in JSON."""
    with bare(tmp_path, "scsi", kind) as (guest, machine):
        disk, folder = machine.disks()[0], tmp_path / "run"
        folder.mkdir()
        create(
            folder / "1.qcow2",
            disk.size,
            backing=Path(f"../{guest.image.name}"),
            backing_format=kind,
        )
        put_overlay(machine, disk.key, folder / "1.qcow2", "layer")
        assert machine.disk(disk.key).file == str(folder / "1.qcow2")
        assert machine.files(disk.key) == (str(folder / "1.qcow2"), str(guest.image))
        assert machine.node_of(lambda file: file == str(guest.image)) == disk.node
        merge_overlays(machine, disk.key, disk.node)
        assert machine.disk(disk.key).file == str(guest.image)


class Stopped(Exception):
    """Somebody had enough."""


def test_a_merge_that_is_stopped_leaves_the_machine_on_its_overlay_and_can_be_done_again(
    tmp_path: Path,
) -> None:
    with bare(tmp_path, "blk") as (guest, machine):
        disk, overlay = machine.disks()[0], tmp_path / "overlay.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", disk.file, "-F", "qcow2", overlay)
        put_overlay(machine, disk.key, overlay, "layer")
        machine.monitor.execute(
            "human-monitor-command", command_line='qemu-io disk "write -P 0x11 0 32M"'
        )

        def stop() -> None:
            raise Stopped

        with pytest.raises(Stopped):
            merge_overlays(machine, disk.key, disk.node, stop)
        assert (machine.disk(disk.key).file, machine.busy()) == (str(overlay), "")
        assert machine.status() == "running"
        assert machine.ask("query-jobs", tuple[dict[str, object], ...]) == ()
        merge_overlays(machine, disk.key, disk.node)
        assert machine.disk(disk.key).file == str(guest.image)
    told = run("qemu-io", "-f", "qcow2", "-c", "read -P 0x11 0 32M", guest.image)
    assert "failed" not in told


def test_a_running_disk_is_never_made_smaller(tmp_path: Path) -> None:
    with bare(tmp_path) as (_, machine), raises("unexpected-answer"):
        machine.resize(machine.disks()[0].key, 32 * MiB)


def test_file_names_start_from_where_qemu_was_started(tmp_path: Path) -> None:
    path = image(tmp_path)
    with started(Path(path.name), folder=tmp_path) as guest:
        found = reach(LiveRequest(qmp=guest.sockets.qmp))
        assert isinstance(found, RunningGuest)
        with closing(found):
            assert (found.path, found.disk.file) == (path, str(path))
            assert found.machine.files(found.disk.key) == (str(path),)
            assert found.machine.node_of(lambda file: file == str(path)) == found.disk.node
        by_image = reach(LiveRequest(path=path))
        assert isinstance(by_image, RunningGuest)
        by_image.close()


def test_an_overlay_of_the_users_own_is_what_grows_by_whichever_name(tmp_path: Path) -> None:
    base, overlay = image(tmp_path, name="base"), tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
    with bare_machine(overlay) as guest:
        for request in (LiveRequest(path=overlay), LiveRequest(qmp=guest.sockets.qmp, disk="disk")):
            found = reach(request)
            assert isinstance(found, RunningGuest)
            with closing(found):
                assert (found.path, found.disk.file) == (overlay, str(overlay))
                assert found.disk.size == 64 * MiB
                found.machine.resize(found.disk.key, found.disk.size + 64 * MiB)
                assert found.again().disk.size == 128 * MiB
                found.machine.restore_size(found.disk.key, 64 * MiB)


def test_what_cannot_be_put_into_a_snapshot_is_known_before_one_is_tried(tmp_path: Path) -> None:
    drive = ("-drive", f"if=none,id=n,file={image(tmp_path, name='second')},format=qcow2")
    with bare(tmp_path, "scsi", "qcow2", *drive, "-device", "nvme,drive=n,serial=1") as (
        _,
        machine,
    ):
        assert "nvme" in machine.fixed_to_host()
        with pytest.raises(GrowdiskError, match="nvme"):
            save(machine, machine.disks()[0].key, "one")
    with bare(tmp_path) as (_, machine):
        assert machine.fixed_to_host() == ""


@pytest.mark.usefixtures("quick_keys")
def test_qemu_ends_when_it_is_to_write_memory_into_an_encrypted_image_and_growdisk_sees_it(
    tmp_path: Path,
) -> None:
    key, other, split = tmp_path / "key", tmp_path / "other.qcow2", tmp_path / "split.qcow2"
    key.write_text("phrase")
    assert (
        in_process("image", "create", "--encrypt", "luks", "--new-key-file", key, other, "64M").code
        == 0
    )
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", split, "64M")
    drive, *device = second_disk(other, "qcow2,encrypt.key-secret=key")[1:]
    more = ("-object", f"secret,id=key,file={key}", "-drive", drive, *device)
    third = ("-drive", f"if=none,id=third,file={split}", "-device", "virtio-blk-pci,drive=third")
    with bare(tmp_path, "scsi", "qcow2", *more, *third) as (guest, machine):
        plain, encrypted, apart = machine.disks()
        assert [disk.encrypted for disk in (plain, encrypted, apart)] == [False, True, False]
        assert [Path(disk.data_file).name for disk in (plain, encrypted, apart)] == ["", "", "data"]
        machine.resize(encrypted.key, 128 * MiB)
    with bare(tmp_path, "scsi", "qcow2", *more) as (guest, machine):
        with pytest.raises(GrowdiskError):
            save(machine, machine.disks()[1].key, "one")
        assert guest.process.wait(60) == -signal.SIGABRT


def test_a_machine_that_was_started_anew_is_found_with_the_sockets_that_it_has_now(
    tmp_path: Path,
) -> None:
    with bare_machine(image(tmp_path)) as guest:
        old = tmp_path / "gone"
        found = reconnect(LiveRequest(path=guest.image, qmp=old, agent=old))
        assert isinstance(found, RunningGuest)
        with closing(found):
            way = found.way("/dev/sda")
            assert (way.qmp, way.agent) == (str(guest.sockets.qmp), str(guest.sockets.agent))

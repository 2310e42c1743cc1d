"""The storage below a device, from its own tools' output.

Real reports of lvs, and what the manuals of zfs and rbd say. LVM itself is tried in
tests/hosts/test_lvm.py; ZFS and Ceph were not at hand.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from growdisk.host.logical_volumes import HostVolume, volumes_in
from growdisk.storage import rbd, zvol
from growdisk.storage.device import look_at_storage
from growdisk.storage.lvm import storage_in
from growdisk.units import GiB, MiB
from tests.guests.loops import loop
from tests.guests.tools import run

NUMBER = os.makedev(253, 3)

_VOLUME = {
    "lv_kernel_major": "253", "lv_kernel_minor": "3", "vg_name": "vg0", "lv_name": "web01",
    "pool_lv": "",
    "lv_size": str(GiB), "vg_free": str(2 * GiB), "vg_extent_size": str(4 * MiB),
    "data_percent": "",
    "metadata_percent": "", "lv_role": "public", "vg_systemid": "",
}  # fmt: skip


def report(*changes: dict[str, str]) -> list[HostVolume]:
    return volumes_in(
        json.dumps({"report": [{"lv": [_VOLUME | each for each in changes]}]}).encode()
    )


def test_a_thick_volume_has_the_room_of_its_group() -> None:
    found = storage_in(report({"lv_kernel_minor": "4", "lv_name": "db"}, {}), NUMBER)
    assert (found.kind, found.name, found.unit) == ("lvm", "vg0/web01", 4 * MiB)
    assert found.room == 2 * GiB
    assert found.place == "the volume group vg0" and not found.obstacle


def test_a_thin_volume_is_told_of_by_its_pool() -> None:
    pool = {"lv_name": "pool", "lv_kernel_minor": "2", "lv_size": str(GiB), "data_percent": "25.00"}
    found = storage_in(report({"pool_lv": "pool"}, pool), NUMBER)
    assert (found.room, found.notes) == (None, ("the thin pool vg0/pool has 768.0 MiB free",))


@pytest.mark.parametrize(
    "full", [{"data_percent": "100.00"}, {"data_percent": "3", "metadata_percent": "96.5"}]
)
def test_a_full_thin_pool_is_an_obstacle(full: dict[str, str]) -> None:
    pool = {"lv_name": "pool", "lv_kernel_minor": "2"} | full
    found = storage_in(report({"pool_lv": "pool"}, pool), NUMBER)
    assert "full" in found.obstacle and "lvextend vg0/pool" in found.hint


def test_a_partition_is_told_of_with_its_disk_whose_name_may_end_in_a_number(
    tmp_path: Path,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(8 * MiB)
    run("sfdisk", "-q", "--no-reread", image, stdin="2048,2048\n")
    with loop(image) as disk:
        run("partx", "--add", disk)
        node = tmp_path / "p1"
        try:
            number = Path(f"/sys/class/block/{disk.name}p1/dev").read_text().strip()
            run("mknod", node, "b", *number.split(":"))
            found = look_at_storage(node)
        finally:
            run("partx", "--delete", disk)
    assert found.obstacle == "it is a partition of this host's disk"
    assert found.hint.endswith(f"parted {disk})")


def test_a_snapshot_of_a_thick_volume_does_not_grow() -> None:
    assert storage_in(report({"lv_role": "public,snapshot,thicksnapshot"}), NUMBER).obstacle


def test_a_thick_zvol_has_the_room_of_its_pool_and_a_sparse_one_a_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    thick = zvol.storage_in(f"{5 * GiB}\t16384\t{GiB}\n", "rpool/data/vm-100-disk-0")
    assert (thick.unit, thick.room, thick.notes) == (16384, 5 * GiB, ())
    sparse = zvol.storage_in(f"{5 * GiB}\t8192\tnone\n", "rpool/data/vm-100-disk-0")
    assert (sparse.unit, sparse.room, len(sparse.notes)) == (8192, None, 1)
    ran: list[list[str]] = []
    monkeypatch.setattr(zvol, "run", lambda words, **_: ran.append(words))
    zvol.resize("rpool/vm", GiB)
    assert ran == [["zfs", "set", f"volsize={GiB}", "rpool/vm"]]


def test_a_mapped_rbd_is_named_by_pool_namespace_and_image(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    for name, value in {"pool": "vms", "pool_ns": "", "name": "web01", "current_snap": "-"}.items():
        (folder / name).write_text(f"{value}\n")
    assert rbd.look("rbd0", tmp_path).name == "vms/web01"
    (folder / "pool_ns").write_text("tenant\n")
    found = rbd.look("rbd0", tmp_path)
    assert (found.name, found.unit, found.obstacle) == ("vms/tenant/web01", MiB, "")
    grow, shrink = (
        rbd.words_to_resize(found.name, 3 * GiB, smaller=smaller) for smaller in (False, True)
    )
    assert grow == ["rbd", "resize", "--no-progress", "--size", "3072", "vms/tenant/web01"]
    assert set(shrink) - set(grow) == {"--allow-shrink"}
    (folder / "current_snap").write_text("before\n")
    assert "snapshot" in rbd.look("rbd0", tmp_path).obstacle


def test_the_clients_of_an_image_of_ceph_are_told_apart_from_the_mapping_itself() -> None:
    """What `rbd status --format json` of Ceph 16 says."""
    said = """{"watchers":[{"address":"127.0.0.1:0/4174","client":4112,"cookie":1},
                            {"address":"10.0.0.7:0/99","client":4120,"cookie":94}],"migration":{"state":"none"}}"""
    assert rbd.others_in(said, "client4112") == ("10.0.0.7:0/99",)
    assert rbd.others_in('{"watchers":[]}', "client4112") == ()


@pytest.mark.parametrize("smaller", [False, True])
def test_rbd_itself_understands_the_words_that_resize_an_image(smaller: bool) -> None:
    """It reads its command line before it looks for a cluster, of which there is none."""
    words = rbd.words_to_resize("vms/tenant/web01", 3 * GiB, smaller=smaller)
    nowhere = {**os.environ, "CEPH_CONF": "/dev/null", "CEPH_ARGS": "--mon-host=[]"}
    said = [
        subprocess.run(each, env=nowhere, capture_output=True, text=True, timeout=60).stderr
        for each in (words, [*words, "--no-such-option"])
    ]
    assert "couldn't connect to the cluster" in said[0] and "unrecognised option" not in said[0]
    assert "unrecognised option" in said[1]

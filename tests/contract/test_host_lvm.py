"""Logical volumes of a host, thick and thin, made larger and as large as they were: on real LVM, in a kernel that runs
as a program, with growdisk's own code in there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import growdisk
from growdisk.backends.uml import UmlHandle, launch
from growdisk.block.raw import RawFile
from growdisk.host.fuse_mount import mounted
from growdisk.units import GiB, MiB
from tests.contract.appliances import need
from tests.contract.host_lvm import _LVM, Inside

pytestmark = pytest.mark.appliance

_ASK = """
import json, sys
sys.path.insert(0, "/exchange/python")
from pathlib import Path
from growdisk.storage.growing import device_size, refuse_without_room, resize_device
from growdisk.storage.look import look_at_storage
from growdisk.block.holders import use_of
from growdisk.block.identity import identity_of
from growdisk.errors import GrowdiskError

path, sizes = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]
storage = look_at_storage(path)
told = {"kind": storage.kind, "name": storage.name, "room": storage.room, "unit": storage.unit, "sizes": []}
told["identity"] = identity_of(path.stat().st_rdev)
told["users"] = use_of(path).holders
try:
    for size in sizes:
        refuse_without_room(path, storage, size)
        resize_device(path, size)
        told["sizes"].append(device_size(path))
except GrowdiskError as error:
    told["error"] = str(error)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Runs a shell script in a kernel that has vg0 on /dev/ubda: 1 GiB, with a thin pool of 256 MiB."""
    need("uml")
    disk = RawFile.create(tmp_path_factory.mktemp("lvm") / "disk.raw", GiB)
    with mounted({"disk": disk}, cached=False) as (place, _), launch([place / "disk"], disk.flush) as appliance:
        handle = appliance._handle
        assert isinstance(handle, UmlHandle)
        packages = place.parent / "exchange" / "python"
        for package in (growdisk, msgspec):
            source = Path(str(package.__file__)).parent
            shutil.copytree(source, packages / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        (packages / "ask.py").write_text(_ASK)
        handle.debug("sh", [_LVM])
        handle.debug("sh", ["lvm pvcreate /dev/ubda && lvm vgcreate vg0 /dev/ubda"])
        handle.debug("sh", [f"lvm lvcreate -y --type thin-pool -L {256 * MiB}b --poolmetadatasize 4M -n pool vg0"])
        yield lambda script: handle.debug("sh", [f"set -e; {script}"])
    disk.close()


def asked(inside: Inside, device: str, *sizes: int) -> dict[str, object]:
    words = " ".join(map(str, sizes))
    answer: dict[str, object] = json.loads(inside(f"python3 -I -S /exchange/python/ask.py {device} {words}"))
    return answer


def test_a_thick_volume_grows_and_gets_its_old_size_again(inside: Inside) -> None:
    inside("lvm lvcreate -y -n thick -L 64M vg0")
    told = asked(inside, "/dev/vg0/thick", 128 * MiB, 64 * MiB)
    assert (told["kind"], told["name"], told["unit"]) == ("lvm", "vg0/thick", 4 * MiB), told
    assert told["sizes"] == [128 * MiB, 64 * MiB], told
    too_large = asked(inside, "/dev/vg0/thick", 8 * GiB)
    assert "the volume group vg0 has" in str(too_large["error"]), too_large


def test_a_thin_volume_grows_beyond_its_pool_and_back(inside: Inside) -> None:
    inside("lvm lvcreate -y --type thin -V 512M --thinpool pool -n thin vg0")
    told = asked(inside, "/dev/vg0/thin", 2 * GiB, 512 * MiB)
    assert (told["room"], told["sizes"]) == (None, [2 * GiB, 512 * MiB]), told


def test_a_volume_has_the_same_name_for_its_runs_after_it_was_renamed(inside: Inside) -> None:
    inside("lvm lvcreate -y -n before -L 16M vg0")
    first = asked(inside, "/dev/vg0/before")["identity"]
    inside("lvm lvrename vg0 before after")
    assert str(first).startswith("lv-") and asked(inside, "/dev/vg0/after")["identity"] == first


def test_a_disk_with_active_lvm_on_it_is_in_use(inside: Inside) -> None:
    inside("lvm lvcreate -y -n active -L 16M vg0")
    users = str(asked(inside, "/dev/ubda")["users"])
    assert "the logical volume vg0-active" in users

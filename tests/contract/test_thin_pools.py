"""Space in a real thin pool, in a user-mode kernel: this one may lack device mapper.

growdisk's own code runs in there, and asks that kernel's /sys and the real lvs.
"""

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
from tests.contract.host_lvm import _LVM, GuestAccess

pytestmark = pytest.mark.appliance

POOL = 256 * MiB
VOLUME = GiB  # more than the pool has
_ASK = """
import json, sys
sys.path.insert(0, "/exchange/python")
from growdisk.host.free_space import room_for
from pathlib import Path
room = room_for(Path(sys.argv[1]))
print(json.dumps({"free": room.free, "total": room.total, "where": room.where, "full": room.nearly_full,
                  "device_size": room.device_size}))
"""  # noqa: E501
_BY_RULE = """
import json, sys
sys.path.insert(0, "/exchange/python")
from growdisk.api.host_space import refuse_to_fill_host
from growdisk.errors import GrowdiskError
from growdisk.planner.goal import Goal, Rule
from pathlib import Path
try:
    refuse_to_fill_host(Path(sys.argv[1]), Goal(rule=Rule(0.85)), int(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps({"error": ""}))
except GrowdiskError as error:
    print(json.dumps({"error": error.ID, "why": error.why, "code": error.exit_code}))
"""  # noqa: E501
_PERCENT = "lvs --noheadings -o data_percent vg0/pool"
_FILL = f"""
for number in $(seq 60); do
    used=$({_PERCENT})
    [ "${{used%.*}}" -lt 96 ] || break
    head -c 4M /dev/urandom >/run/m/ext4/$number; sync
done
"""
Room = dict[str, object]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestAccess]:
    """Runs a shell script in a kernel that has a thin pool vg0/pool, ours with it."""
    need("uml")
    disk = RawFile.create(tmp_path_factory.mktemp("thin") / "disk.raw", GiB)
    with (
        mounted({"disk": disk}, cached=False) as (place, _),
        launch([place / "disk"], disk.flush) as appliance,
    ):
        handle = appliance._handle
        assert isinstance(handle, UmlHandle)
        packages = place.parent / "exchange" / "python"
        for package in (growdisk, msgspec):
            source = Path(str(package.__file__)).parent
            shutil.copytree(
                source, packages / source.name, ignore=shutil.ignore_patterns("__pycache__")
            )
        (packages / "ask.py").write_text(_ASK)
        (packages / "by_rule.py").write_text(_BY_RULE)
        handle.debug("sh", [_LVM])
        handle.debug("sh", ["lvm pvcreate /dev/ubda && lvm vgcreate vg0 /dev/ubda"])
        handle.debug(
            "sh", [f"lvm lvcreate -y --type thin-pool -L {POOL}b --poolmetadatasize 4M -n pool vg0"]
        )
        yield lambda script: handle.debug("sh", [f"set -e; {script}"])
    disk.close()


def room(inside: GuestAccess, path: str) -> Room:
    answer: Room = json.loads(inside(f"python3 -I -S /exchange/python/ask.py {path}"))
    return answer


def thin_volume(inside: GuestAccess, name: str) -> str:
    inside(f"lvm lvcreate -y --type thin -V {VOLUME}b --thinpool pool -n {name} vg0")
    return f"/dev/vg0/{name}"


def with_image(
    inside: GuestAccess, device: str, name: str, kind: str = "ext4", folder: str = ""
) -> str:
    """A file system on `device`, mounted, and an empty image in it."""
    place = f"/run/m/{name}"
    inside(f"mkfs.{kind} -q {device}; mkdir {place}; mount {device} {place}")
    if folder:
        inside(f"btrfs subvolume create {place}/{folder}")
    inside(f": >{place}/{folder}/guest.raw")
    return f"{place}/{folder}/guest.raw"


def free(inside: GuestAccess) -> int:
    return int(POOL * (100 - float(inside(_PERCENT))) / 100)


def test_whatever_lies_on_a_thin_volume_has_no_more_room_than_its_pool(inside: GuestAccess) -> None:
    alone = thin_volume(inside, "alone")
    images = [with_image(inside, thin_volume(inside, "ext4"), "ext4"), alone]
    images.append(with_image(inside, thin_volume(inside, "btrfs"), "btrfs", "btrfs", "subvolume"))
    inside("head -c 16 /dev/urandom >/run/key")
    cheap = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
    secret = thin_volume(inside, "secret")
    inside(
        f"cryptsetup -q luksFormat {cheap} {secret} /run/key; cryptsetup open --key-file /run/key "
        f"{secret} opened"
    )
    inside(
        "lvm pvcreate /dev/mapper/opened; lvm vgcreate vg1 /dev/mapper/opened; lvm lvcreate -y -n "
        "plain -L 512M vg1"
    )
    images.append(with_image(inside, "/dev/vg1/plain", "plain"))
    for path in images:
        seen = room(inside, path)
        assert (seen["where"], seen["total"]) == ("in the thin pool vg0/pool", POOL)
        assert seen["full"] is False
        assert seen["device_size"] == (VOLUME if path == alone else None)
    inside(_FILL)
    assert 0 < free(inside) <= POOL * 4 / 100
    for path in images:
        most, seen = free(inside), room(inside, path)
        assert (seen["where"], seen["full"]) == ("in the thin pool vg0/pool", True)
        # What the file systems on it have yet to write takes room in between.
        assert most >= seen["free"] >= free(inside)
    assert int(inside("df -B1 --output=avail /run/m/ext4 | tail -1")) > 2 * POOL


def test_where_the_file_system_is_narrower_than_the_pool_it_counts(inside: GuestAccess) -> None:
    inside("lvm lvcreate -y -n thick -L 64M vg0")
    seen = room(inside, with_image(inside, "/dev/vg0/thick", "thick"))
    assert (seen["where"], seen["full"]) == ("on /run/m/thick", False)
    assert 32 * MiB < int(str(seen["free"])) < int(str(seen["total"])) < 64 * MiB


def test_a_rule_gives_the_volumes_of_a_pool_no_more_than_the_pool_has(inside: GuestAccess) -> None:
    """A pool of its own: the other one has promised more than it has from the start."""
    inside("lvm lvcreate -y --type thin-pool -L 128M --poolmetadatasize 4M -n strict vg0")
    for name, size in (("web", 64), ("db", 32)):
        inside(f"lvm lvcreate -y --type thin -V {size}M --thinpool strict -n {name} vg0")
    assert by_rule(inside, "/dev/vg0/web", 64 * MiB, 96 * MiB) == {"error": ""}
    refused = by_rule(inside, "/dev/vg0/web", 64 * MiB, 100 * MiB)
    assert (refused["error"], refused["code"]) == ("pool-overcommitted", 3)
    assert "132.0 MiB, and the pool has 128.0 MiB in the thin pool vg0/strict" in str(
        refused["why"]
    )


def by_rule(inside: GuestAccess, device: str, old: int, new: int) -> Room:
    answer: Room = json.loads(
        inside(f"python3 -I -S /exchange/python/by_rule.py {device} {old} {new}")
    )
    return answer

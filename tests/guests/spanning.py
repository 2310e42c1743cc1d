"""Volume groups that lie on several physical volumes. No system inside.

span     root.raw: MBR, sda1 /boot, sda2; spare.raw: the whole disk. Group span: root on both, its end on the spare
twins    twins.raw: GPT, sda1 and sda2, the group twin on both: root begins on the second and ends on the first
"""  # noqa: E501

from __future__ import annotations

from pathlib import Path

from growdisk.units import MiB
from tests.guests.appliance import device, quick_bench
from tests.guests.cache import cached, recipe_hash
from tests.guests.tools import run

SIZES = {"root": 192, "spare": 96, "twins": 160}
_TABLES = {
    "root": "label: dos\n1: start=2048, size=16M, type=83\n2: start=17M, size=174M, type=8e\n",
    "twins": "label: gpt\n1: start=1M, size=64M\n2: start=65M, size=94M\n",
}


def spanning_guests() -> Path:
    """The folder with NAME.raw of each, read-only; built when needed."""
    recipe = recipe_hash([Path(__file__), Path(__file__).with_name("appliance.py")])
    return cached(f"spanning-{recipe[:12]}", _build)


def _build(folder: Path) -> None:
    disks = {name: folder / f"{name}.raw" for name in SIZES}
    for name, disk in disks.items():
        with disk.open("wb") as file:
            file.truncate(SIZES[name] * MiB)
        if table := _TABLES.get(name):
            run("sfdisk", "-q", "--no-reread", disk, stdin=table)
    root, spare = device("root", 2), "/dev/disk/guestfs/spare"
    one, two = device("twins", 1), device("twins", 2)
    with quick_bench(list(disks.values())) as appliance:
        appliance.run(
            f"mkfs.ext2 -q {device('root', 1)}; lvm pvcreate {root} {spare}; lvm vgcreate span "
            f"{root} {spare}\n"
            f"lvm lvcreate -y -n root -l 100%PVS span {root}; lvm lvextend -L +32M span/root "
            f"{spare}\n"
            "mkfs.ext4 -q /dev/span/root\n"
            + _with_files("/dev/span/root")
            + "lvm vgchange -an span"
        )
        appliance.run(
            f"lvm pvcreate {one} {two}; lvm vgcreate twin {one} {two}\n"
            f"lvm lvcreate -y -n root -l 100%PVS twin {two}; lvm lvextend -L +32M twin/root {one}\n"
            "mkfs.ext4 -q /dev/twin/root\n"
            + _with_files("/dev/twin/root")
            + "lvm vgchange -an twin"
        )
    for disk in disks.values():
        disk.chmod(0o444)


def _with_files(device: str) -> str:
    return f"mkdir -p /tmp/m; mount {device} /tmp/m; seq 100000 >/tmp/m/numbers; umount /tmp/m\n"

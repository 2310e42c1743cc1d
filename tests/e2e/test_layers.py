"""Roots in logical volumes and encrypted containers, and every other kind of file system.

They are judged by their own tools, in an appliance that knows nothing of growdisk if that takes a
kernel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from growdisk.units import MiB
from growdisk.workflow.run_places import record_folder
from tests.e2e.judges import sfdisk
from tests.e2e.process import Answer, Host, need
from tests.fuzz.disks.kernel import kernel_on
from tests.guests.appliance import device, quick_bench
from tests.guests.layered import FSTAB, KEYS, ZOO, layered_guests
from tests.guests.manifest import as_raw
from tests.guests.tools import place_content, run
from tests.unit.cli.command import in_process

pytestmark = pytest.mark.appliance

_GROWTH = 256


@dataclass
class Grown:
    """Copies of the layered guests after `growdisk expand`; `seen`: by the judging appliance."""

    folder: Path
    host: Host
    answers: dict[str, Answer] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def image(self, name: str) -> Path:
        return self.folder / f"{name}.qcow2"

    def key(self, name: str) -> Path:
        path = self.folder / f"{name}.key"
        path.write_bytes(KEYS[name])
        return path

    def expand(self, name: str, *words: str | Path) -> Answer:
        self.answers[name] = self.host.growdisk("-x", "expand", self.image(name), *words)
        return self.answers[name]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grown]:
    folder = tmp_path_factory.mktemp("layers")
    scratch = Path(f"/tmp/gl{folder.name[-2:]}-{folder.stat().st_ino % 100000}")
    scratch.mkdir()
    world = Grown(folder, Host(scratch))
    for name in ("lvm", "luks1", "luks2", "zoo"):
        run(
            "qemu-img", "convert", "-O", "qcow2", layered_guests() / f"{name}.raw",
            world.image(name),
        )  # fmt: skip
    world.expand("lvm", f"+{_GROWTH}M", "--lv", "home=50%", "--lv", "guest-vg/root")
    world.expand("luks2", f"+{_GROWTH}M", "--key-file", world.key("luks2"), "--lv-share", "60%")
    world.expand("luks1", f"+{_GROWTH}M", "--key-file", world.key("luks1"), "--keep-snapshots")
    with quick_bench(
        [world.image(name) for name in ("lvm", "luks1", "luks2")], read_only=True
    ) as judge:
        world.seen["lvm"] = judge.run(f"lvm vgchange -ay guest-vg >&2; {_LISTING} guest-vg")
        world.seen["home"] = judge.run(_look("/dev/guest-vg/home", "xfs_repair -n"))
        world.seen["lvm root"] = judge.run(_look("/dev/guest-vg/root", "e2fsck -fn"))
        for name, number in (("luks1", 1), ("luks2", 2)):
            key = judge.give(KEYS[name].rstrip(b"\n") if name == "luks1" else KEYS[name])
            judge.run(f"cryptsetup open --readonly --key-file {key} {device(name, number)} {name}")
        world.seen["luks1 root"] = judge.run(_look("/dev/mapper/luks1", "e2fsck -fn"))
        world.seen["crypt"] = judge.run(f"lvm vgchange -ay crypt >&2; {_LISTING} crypt")
        world.seen["crypt root"] = judge.run(_look("/dev/crypt/root", "e2fsck -fn"))
    yield world
    shutil.rmtree(scratch)


_LISTING = "lvm lvs --noheadings --nosuffix --units m -o vg_size,vg_free,lv_name,lv_size"


def _look(device: str, check: str) -> str:
    """A check, its size, and the files in it."""
    return (
        f"{check} {device} >/tmp/said 2>&1 || {{ cat /tmp/said; exit 1; }}; blockdev --getsize64 "
        f"{device}\n"
        f"mkdir -p /tmp/l; mount -o ro {device} /tmp/l; df -B1M --output=size /tmp/l | tail -1; "
        "cat /tmp/l/etc/fstab\n"
        "cksum </tmp/l/numbers; umount /tmp/l"
    )


def volumes(listing: str) -> dict[str, float]:
    rows = [line.split() for line in listing.splitlines() if len(line.split()) == 4]
    return {name: float(size) for _, _, name, size in rows} | {
        "free": float(rows[0][1]),
        "group": float(rows[0][0]),
    }


def assert_filled(seen: str) -> None:
    """The file system fills its device, less its tables and journal; files are as before."""
    size, usable, fstab, numbers = seen.splitlines()
    assert int(usable) * MiB > int(size) * 0.85
    assert fstab == FSTAB.strip()
    text = "".join(f"{number}\n" for number in range(1, 100001)).encode()
    assert (
        numbers.split()
        == subprocess.run(["cksum"], input=text, capture_output=True).stdout.decode().split()
    )


def step_names(answer: Answer) -> list[str]:
    steps = answer.document["steps"]
    assert isinstance(steps, list)
    return [step["name"] for step in steps if step["state"] == "done"]


def test_debians_logical_volumes_grow_in_their_extended_partition(grown: Grown) -> None:
    answer = grown.answers["lvm"]
    assert (answer.code, answer.result) == (0, "changed"), answer
    inner = [
        "grow-pv",
        "grow-lv-home",
        "grow-filesystem-home",
        "grow-lv-root",
        "grow-filesystem-root",
    ]
    assert step_names(answer)[3:] == inner
    with as_raw(grown.image("lvm"), "qcow2") as raw:
        parts = {str(part["node"])[-1]: part for part in sfdisk(raw)}
    ends = {int(str(parts[n]["start"])) + int(str(parts[n]["size"])) for n in "25"}
    assert ends == {(512 + _GROWTH) * 2048} and parts["5"]["type"] == "8e"
    found = volumes(grown.seen["lvm"])
    assert (found["home"], found["root"], found["free"]) == (476.0, 256.0, 0.0)
    assert_filled(grown.seen["home"])
    assert_filled(grown.seen["lvm root"])


def test_lvm_in_luks_grows_with_its_key_and_leaves_what_is_to_stay_free(grown: Grown) -> None:
    answer = grown.answers["luks2"]
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert step_names(answer)[3:] == ["grow-luks", "grow-pv", "grow-lv", "grow-filesystem"]
    found = volumes(grown.seen["crypt"])
    assert (found["group"], found["swap_1"]) == (364.0, 16.0)
    assert found["free"] == pytest.approx(256 * 0.4, abs=4)
    assert_filled(grown.seen["crypt root"])


def test_luks1_grows_and_goes_back(grown: Grown) -> None:
    answer = grown.answers["luks1"]
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_filled(grown.seen["luks1 root"])
    image = grown.image("luks1")
    assert grown.host.growdisk("rollback", image).code == 0
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, layered_guests() / "luks1.raw")


def test_no_key_is_told_to_anybody(grown: Grown) -> None:
    for name, phrase in KEYS.items():
        told = grown.answers[name].said.encode() + json.dumps(grown.answers[name].document).encode()
        assert b"cryptsetup open" in told
        files = [
            path.read_bytes()
            for path in record_folder(grown.folder / f"{name}.qcow2").iterdir()
            if path.is_file()
        ]
        for text in (told, *files):
            assert (
                phrase not in text
                and phrase.strip() not in text
                and phrase.strip().hex().encode() not in text
            )


def test_a_grown_guest_has_nothing_more_to_grow(grown: Grown) -> None:
    again = grown.host.growdisk(
        "expand", grown.image("lvm"), "--lv", "home=50%", "--lv", "guest-vg/root"
    )
    assert (again.code, again.result) == (0, "nochange"), again


def test_what_is_encrypted_is_refused_without_its_key_or_grows_alone(grown: Grown) -> None:
    image = grown.image("luks2")
    refused = grown.host.growdisk("expand", image, "+64M")
    assert refused.code == 3 and "encrypted" in str(refused.error["why"])
    wrong = grown.host.growdisk("expand", image, "+64M", "--key", "something else")
    assert wrong.code == 3 and "no passphrase that was given" in str(wrong.error["why"])
    alone = grown.host.growdisk("plan", image, "+64M", "--partition", "2")
    assert alone.code == 0 and "has to be grown from inside the guest" in json.dumps(alone.document)


def test_thin_volumes_and_what_has_snapshots_are_refused_each_with_its_reason(grown: Grown) -> None:
    image = grown.image("thin")
    run("qemu-img", "convert", "-O", "qcow2", layered_guests() / "thin.raw", image)
    shown = grown.host.growdisk("show", image).document["volumes"]
    assert isinstance(shown, list)
    kinds = {volume["name"]: volume["kind"] for volume in shown}
    assert kinds["thin/pool"] == "thin-pool" and kinds["thin/data"] == "linear"
    refused = grown.host.growdisk("expand", image, "+64M")
    assert refused.code == 3
    for reason in (
        "thin/pool is a thin pool",
        "thin/root is thin",
        "thin/data has an LVM snapshot",
    ):
        assert reason in str(refused.error["why"])
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, layered_guests() / "thin.raw")


def test_every_kind_of_file_system_grows_beside_the_others(grown: Grown) -> None:
    shares = [
        f"--grow=sda{number}={share}%" for number, share in enumerate((20, 20, 15, 15, 10, 10), 1)
    ]
    answer = grown.expand("zoo", "+600M", *shares, "--grow", "sda7=rest")
    assert (answer.code, answer.result) == (0, "changed"), answer
    checks = {
        "xfs": ["xfs_repair", "-n", "-f"], "btrfs": ["btrfs", "check"],
        "ntfs": ["ntfsresize", "--info", "--force"],
        "f2fs": ["fsck.f2fs", "--dry-run"], "ext3": ["e2fsck", "-fn"],
        "ext2": ["e2fsck", "-fn"], "old ext4": ["e2fsck", "-fn"],
    }  # fmt: skip
    with as_raw(grown.image("zoo"), "qcow2") as raw:
        for part, (kind, old) in zip(sfdisk(raw), ZOO.values(), strict=True):
            start, size = (int(str(part[key])) // 2048 for key in ("start", "size"))
            alone = grown.folder / kind
            run(
                "dd", f"if={raw}", f"of={alone}", "bs=1M", f"skip={start}", f"count={size}",
                "status=none",
            )  # fmt: skip
            run(*checks[kind], alone)
            assert size > old + 50
            if kind == "btrfs":  # the default subvolume is the one it was, and still read-only
                tree = run("btrfs", "inspect-internal", "dump-tree", "-t", "root", alone)
                assert "location key (256 ROOT_ITEM" in tree and "(RDONLY)" in tree
            assert _claimed(alone, kind) == size * MiB


def _claimed(alone: Path, kind: str) -> int:
    """How large the file system is, by its superblock or its own tools."""
    # without the backup of the boot sector, which a last cluster is left out for
    if kind == "ntfs":
        said = run("ntfsresize", "--info", "--force", alone)
        volume = next(line for line in said.splitlines() if line.startswith("Current volume size"))
        return -(-(int(volume.split(":")[1].split()[0]) + 512) // 4096) * 4096
    return _by_superblock(alone, kind)


def _by_superblock(alone: Path, kind: str) -> int:
    if kind == "xfs":
        said = run("xfs_db", "-r", "-f", "-c", "sb 0", "-c", "p dblocks blocksize", alone)
        blocks, size = (int(line.split("=")[1]) for line in said.splitlines())
        return blocks * size
    if kind == "f2fs":
        return int.from_bytes(alone.read_bytes()[1024 + 36 : 1024 + 44], "little") * 4096
    if kind == "btrfs":
        return int.from_bytes(alone.read_bytes()[0x10070:0x10078], "little")
    said = dict(
        line.split(":", 1) for line in run("dumpe2fs", "-h", alone).splitlines() if ":" in line
    )
    return int(said["Block count"]) * int(said["Block size"])


_SWAP = "11111111-2222-3333-4444-555555555555"
_ROOT = f"""cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/sda1 /tmp/key
cryptsetup open --key-file /tmp/key /dev/sda1 root; lvm pvcreate -q /dev/mapper/root
lvm vgcreate -q vg /dev/mapper/root; lvm lvcreate -qy -Wn -L 24M -n root vg
mke2fs -q -t ext4 /dev/vg/root; mkdir /tmp/m; mount /dev/vg/root /tmp/m; mkdir -p /tmp/m/etc
echo 'UUID={_SWAP} none swap sw 0 0' >/tmp/m/etc/fstab; echo ID=debian >/tmp/m/etc/os-release
umount /tmp/m; mke2fs -q -t ext4 /dev/sda2; lvm vgchange -an; cryptsetup close root"""


def test_a_root_that_stays_as_it_is_in_lvm_in_luks_is_repaired(tmp_path: Path) -> None:
    """No step works in there: its container and its volume were not open then."""
    need("uml")
    image, key = tmp_path / "disk.raw", tmp_path / "key"
    key.write_text("secret")
    image.touch()
    os.truncate(image, 160 * MiB)
    table = "label: gpt\nsize=60M\nsize=70M\nsize=20M, type=S\n"
    subprocess.run(["sfdisk", "-q", image], input=table, text=True, check=True)
    with (tmp_path / "swap").open("wb") as swap:
        swap.truncate(20 * MiB)
    run("mkswap", "-q", "-U", _SWAP, swap.name)
    place_content(Path(swap.name), image, 131 * MiB)
    with kernel_on(image) as kernel:
        kernel.must(f"printf secret >/tmp/key; {_ROOT}")
    answer = in_process("expand", image, "+100M", "--key-file", key, "--swap", "drop")
    assert answer.code == 0, answer
    with kernel_on(image) as kernel:
        kernel.must(
            "printf secret >/tmp/key; cryptsetup open --key-file /tmp/key /dev/sda1 root; mkdir "
            "/tmp/m; lvm vgchange -ay; mount -o ro /dev/vg/root /tmp/m; ! grep ^UUID "
            "/tmp/m/etc/fstab"
        )

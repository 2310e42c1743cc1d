"""The shipped playbooks do what their comments say, and pass linters.

They say when to use them. If the guest's own files are changed, this machine's tools do it, so no
appliance is needed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import Before, assert_grown, assert_sound, sfdisk, virtual_size
from tests.guests.debian_files import debian_files
from tests.guests.layouts import Layout
from tests.guests.manifest import Manifest, as_raw, differences, file_manifest
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.oracle.qemu import qemu_img
from tests.playbooks.conftest import ROOT, SHIPPED, Ended, Place

PLAYBOOKS = (
    "classic-hand-recipe", "convert-raw-to-qcow2-and-grow", "expand-data-disk", "expand-lvm",
    "expand-root", "move-swap-to-file", "online-expand", "provision-from-base", "watch",
)  # fmt: skip


def play(place: Place, name: str, *words: str | Path) -> Ended:
    return place.growdisk("run", name, "--json", *words)


def test_each_job_has_its_playbook_and_each_says_when_to_use_it() -> None:
    assert (
        tuple(
            sorted(path.stem for path in SHIPPED.glob("*.yml") if path.stem != "inventory.example")
        )
        == PLAYBOOKS
    )
    for name in PLAYBOOKS:
        lines = (SHIPPED / f"{name}.yml").read_text().splitlines()
        assert lines[1].startswith("# When to use it: "), name
        assert any("growdisk run" in line for line in lines) and any(
            "ansible-playbook" in line for line in lines
        ), name


def test_a_round_by_rules_grows_what_is_full_and_a_second_one_nothing(place: Place) -> None:
    image = place.disk()
    rules = image.with_name("rules.yml")
    rules.write_text(
        f"rules: [{{images: {image}, when_used: 0.5%, step: 300M, max_size: 300M, keep_host_free: "
        f"0%}}]"
    )
    words = ("-e", "target=localhost", "-e", f"rules={rules}")
    planned = play(place, "watch", *words, "--check")
    assert (planned.code, planned.json()["result"]) == (0, "changed"), planned
    assert virtual_size(image) < 300 * MiB
    ended = play(place, "watch", *words)
    assert (ended.code, ended.json()["result"], virtual_size(image)) == (0, "changed", 300 * MiB), (
        ended
    )
    again = play(place, "watch", *words)
    assert (again.code, again.json()["result"]) == (0, "nochange"), again


@pytest.mark.parametrize("name", ["classic-hand-recipe", "expand-root"])
def test_a_classic_disk_is_grown_and_a_second_run_changes_nothing(place: Place, name: str) -> None:
    image = place.disk()
    before = Before.of(image)
    ended = play(place, name, "-e", "target=guest.qcow2", "-e", "size=256M")
    assert (ended.code, ended.json()["result"]) == (0, "changed"), ended
    assert virtual_size(image) == 256 * MiB
    assert_grown(image, before)
    again = play(place, name, "-e", "target=guest.qcow2", "-e", "size=256M")
    assert (again.code, again.json()["result"]) == (0, "nochange"), again


def test_without_a_size_the_unused_space_is_filled_once(place: Place) -> None:
    image = place.disk()
    before = Before.of(image)
    run("qemu-img", "resize", "-q", image, "256M")
    assert play(place, "expand-root", "-e", "target=guest.qcow2").json()["result"] == "changed"
    assert_grown(image, before)
    assert play(place, "expand-root", "-e", "target=guest.qcow2").json()["result"] == "nochange"
    assert virtual_size(image) == 256 * MiB


def test_the_hand_recipe_does_what_expand_does(place: Place) -> None:
    by_hand, at_once = place.disk("hand.qcow2"), place.disk("once.qcow2")
    assert (
        play(place, "classic-hand-recipe", "-e", "target=hand.qcow2", "-e", "size=+64M").code == 0
    )
    assert place.growdisk("expand", at_once, "+64M", "--json").code == 0
    assert_the_same(by_hand, at_once)


WORDS = [
    ("+64M",), ("+64M", "--swap", "file"), ("+64M", "--swap", "move"), ("256M", "--partition", "1"),
    ("+64M", "--delete", "2", "--grow", "sda1=50%"),
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_what_as_playbook_prints_does_the_same(place: Place, words: tuple[str, ...]) -> None:
    by_playbook, at_once = place.disk("playbook.qcow2"), place.disk("once.qcow2")
    original = by_playbook.read_bytes()
    printed = place.growdisk("plan", by_playbook, *words, "--as-playbook")
    assert printed.code == 0 and by_playbook.read_bytes() == original
    ended = place.run(place.playbook(printed.out))
    assert (ended.code, ended.json()["result"]) == (0, "changed"), ended
    assert place.growdisk("expand", at_once, *words, "--json").code == 0
    assert_the_same(by_playbook, at_once)
    again = place.run(place.playbook(printed.out))
    assert (again.code, again.json()["result"]) == (0, "nochange"), again


def test_swap_partitions_become_swap_files(place: Place) -> None:
    image = place.disk()
    assert play(place, "move-swap-to-file", "-e", "target=guest.qcow2", "-e", "size=+64M").code == 0
    with as_raw(image, "qcow2") as raw:
        assert len(sfdisk(raw)) == 1
    fstab = file_text(image, "/etc/fstab")
    assert "/swapfile" in fstab
    again = play(place, "move-swap-to-file", "-e", "target=guest.qcow2", "-e", "size=+64M")
    assert (again.code, again.states()) == (0, ["ok", "ok", "skipped"])


def test_a_raw_image_is_converted_and_its_copy_grows(place: Place) -> None:
    raw = place.disk("disk.raw", "guest.raw")
    before = raw.read_bytes()
    ended = play(place, "convert-raw-to-qcow2-and-grow", "-e", "target=disk.raw", "-e", "size=256M")
    copy = place.folder / "disk.qcow2"
    assert (ended.code, ended.states()) == (0, ["changed", "changed", "ok"]), ended
    assert raw.read_bytes() == before and virtual_size(copy) == 256 * MiB
    assert_sound(copy)
    again = play(place, "convert-raw-to-qcow2-and-grow", "-e", "target=disk.raw", "-e", "size=256M")
    assert again.states() == ["ok", "ok", "ok"]


def test_a_copy_that_cannot_grow_is_not_left_behind(place: Place) -> None:
    place.disk("disk.raw", "guest.raw")
    words = ("-e", "target=disk.raw", "-e", "size=64M")
    ended = play(place, "convert-raw-to-qcow2-and-grow", *words)
    assert (ended.code, ended.json()["hosts"][0]["result"]) == (4, "restored"), ended
    assert not (place.folder / "disk.qcow2").exists()


def test_data_disks_grow_and_one_with_something_behind_the_data_is_refused(place: Place) -> None:
    data = make_disk(place.folder / "data.qcow2", SmallDisk(Layout.NO_TABLE, 128 * MiB))
    place.disk("system.qcow2")
    ended = play(place, "expand-data-disk", "-e", "target=*.qcow2", "-e", "size=256M", "-j", "2")
    assert [(h["host"], h["result"], h["code"]) for h in ended.json()["hosts"]] == [
        ("data.qcow2", "changed", 0),
        ("system.qcow2", "failed", 3),
    ]
    assert virtual_size(data) == 256 * MiB


def test_images_are_provisioned_from_a_base(place: Place) -> None:
    wanted = SmallDisk(size=128 * MiB, swap_size=16 * MiB, extra_files=debian_files())
    base = make_disk(place.folder / "base.qcow2", wanted)
    before = base.read_bytes()
    inventory = place.playbook(
        "new_guests:\n  hosts:\n    web[1:2]: {image: '{{ inventory_hostname }}.qcow2'}\n"
        "  vars: {base: base.qcow2, size: 192M}\n",
        "hosts.yml",
    )
    ended = play(place, "provision-from-base", "-i", inventory, "-j", "2")
    assert (ended.code, ended.json()["summary"]["changed"]) == (0, 2), ended
    for name in ("web1", "web2"):
        image = place.folder / f"{name}.qcow2"
        assert virtual_size(image) == 192 * MiB
        assert file_text(image, "/etc/hostname").strip() == name
    assert base.read_bytes() == before
    assert play(place, "provision-from-base", "-i", inventory).json()["result"] == "nochange"


def test_a_guest_that_is_off_is_grown_by_the_online_playbook(place: Place) -> None:
    image = place.disk()
    before = Before.of(image)
    ended = play(place, "online-expand", "-e", "target=guest.qcow2", "-e", "size=+64M")
    assert (ended.code, ended.json()["result"]) == (0, "changed"), ended
    assert_grown(image, before)


def test_the_example_inventory_is_one_and_fits_the_playbooks(place: Place) -> None:
    example = SHIPPED / "inventory.example.yml"
    ended = play(place, "expand-root", "-i", example)
    error = ended.json()["error"]
    assert ended.code == 2, error
    assert "there is no image /var/lib/libvirt/images/web01.qcow2" in error["what"], error


def test_yamllint_has_nothing_to_say() -> None:
    run(
        Path(sys.executable).with_name("yamllint"),
        "--strict",
        "-c",
        SHIPPED / ".yamllint",
        *sorted(SHIPPED.glob("*.yml")),
    )


def test_ansible_lint_has_nothing_to_say(tmp_path: Path) -> None:
    """It has an Ansible of its own, which must find the collection."""
    lint = shutil.which("ansible-lint", path=str(Path(sys.executable).parent))
    assert lint is not None
    built = subprocess.run(
        ["setup/collection.sh", tmp_path / "collections", tmp_path / "out"], cwd=ROOT, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [lint, "--offline", "--nocolor", "--profile", "production",
            *sorted(SHIPPED.glob("[!i]*.yml"))],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=lint_environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def lint_environment(folder: Path) -> dict[str, str]:
    import os

    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(folder),
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
    }


# --- judges -------------------------------------------------------------------------------------


def assert_the_same(one: Path, other: Path) -> None:
    """The same table, files and file system to a guest, except for times of writing."""
    assert virtual_size(one) == virtual_size(other)
    assert_sound(one)
    assert_sound(other)
    with as_raw(one, "qcow2") as a, as_raw(other, "qcow2") as b:
        assert run("sfdisk", "-d", a).replace(str(a), "") == run("sfdisk", "-d", b).replace(
            str(b), ""
        )
    assert differences(timeless(one), timeless(other)) == []
    assert json.loads(qemu_img("info", "--output=json", one)).get("snapshots") is None


def timeless(image: Path) -> Manifest:
    return {
        path: replace(facts, mtime=0) for path, facts in file_manifest(image, "qcow2", 1).items()
    }


def file_text(image: Path, path: str) -> str:
    """A file of the guest, by debugfs."""
    with as_raw(image, "qcow2") as raw:
        start = int(str(sfdisk(raw)[0]["start"])) * 512
        return run("debugfs", "-R", f"cat {path}", f"{raw}?offset={start}")

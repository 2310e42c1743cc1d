"""Guest scripts pass shellcheck, in every layout: three seconds of the processor each."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pytest

from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.guest_scripts.bundle import README, SMALL_CLOUD, USER_DATA, package
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import DRIVER, GuestLayer, Phase
from growdisk.partitions.table import Partition
from tests.guests.tools import run
from tests.unit.backends.script_plans import LAYERS, guest_plans, planned


def _slow(value: object) -> object:
    return pytest.param(value, marks=pytest.mark.slow)


def assert_clean(scripts: Mapping[str, str], folder: Path) -> None:
    for file, text in scripts.items():
        (folder / file).write_text(text)
    run("shellcheck", "-s", "sh", *sorted(folder.iterdir()))


def as_parsed(script: str) -> str:
    """The script as bash parses it: without comments, and without indents in awk's texts."""
    parsed = run("bash", stdin=f"script() {{\n{script}\n}}\ndeclare -f script")
    return "\n".join(line.lstrip(" ") for line in parsed.splitlines() if line.strip())


@pytest.mark.parametrize("name", list(guest_plans()))
def test_user_data_holds_the_same_scripts_without_comments_and_fits_into_16_kib(name: str) -> None:
    plan = replace(planned(name), layers=LAYERS)
    bare = render(plan, comments=False)
    for file, script in render(plan).items():
        assert len(bare[file]) < len(script)
        assert as_parsed(bare[file]) == as_parsed(script)
    # Who has both a swap partition and layers of each kind may have a little more, and is told so.
    files = package(planned(name))
    assert len(gzip.compress(files[USER_DATA].encode(), 9)) <= SMALL_CLOUD - len(USER_DATA)
    assert f"the output of `gzip -9c {USER_DATA}`" in files[README]


def test_the_readme_says_so_if_the_scripts_are_too_large_for_a_small_cloud(tmp_path: Path) -> None:
    plan = planned("two-swaps-file")
    gone = tuple(RemovedPartition(n, uuid=str(uuid5(NAMESPACE_OID, str(n)))) for n in range(7, 60))
    files = package(replace(plan, layers=LAYERS, gone=gone))
    (tmp_path / USER_DATA).write_text(files[USER_DATA])
    packed = subprocess.run(
        ["gzip", "-9c", tmp_path / USER_DATA], capture_output=True, check=True
    ).stdout
    assert len(packed) > SMALL_CLOUD
    assert "does not take this one" in files[README]


def test_the_readme_says_how_a_container_gets_its_passphrase_and_that_user_data_brings_none() -> (
    None
):
    plan = planned("classic-drop")
    words = ("GROWDISK_KEY_FILE=FILE", "brings no passphrase")
    assert all(word in package(replace(plan, layers=LAYERS))[README] for word in words)
    assert not any(word in package(plan)[README] for word in words)


@pytest.mark.parametrize("kind", [_slow("ext4"), _slow("xfs"), "btrfs"])
def test_the_scripts_for_what_lies_in_layers_are_clean_for_shellcheck(
    kind: str, tmp_path: Path
) -> None:
    plan = planned("classic-drop")
    layered = replace(plan, layers=LAYERS, filesystem=replace(plan.filesystem, kind=kind))
    assert_clean(render(layered), tmp_path)


@pytest.mark.parametrize(
    "layers", [_slow(()), LAYERS, _slow(LAYERS[1:])], ids=["file-system", "luks", "volumes"]
)
def test_the_scripts_for_a_disk_without_a_table_are_clean_for_shellcheck(
    layers: tuple[GuestLayer, ...], tmp_path: Path
) -> None:
    plan = planned("classic-drop")
    whole = tuple(
        replace(table, partitions=(Partition(0, 0, 1 << 30),))
        for table in (plan.before, plan.after)
    )
    disk = replace(plan, before=whole[0], after=whole[1], target=0, swaps=(), layers=layers)
    assert_clean(render(disk), tmp_path)


@pytest.mark.parametrize("name", list(guest_plans()))
def test_the_scripts_are_clean_for_shellcheck(name: str, tmp_path: Path) -> None:
    scripts = render(planned(name))
    assert set(scripts) == {phase.file_name for phase in Phase} | {DRIVER}
    assert_clean(scripts, tmp_path)

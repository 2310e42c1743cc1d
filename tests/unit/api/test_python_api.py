"""growdisk as a Python program uses it: names and sizes as people type them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from growdisk import api
from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import virtual_size
from tests.unit.cli.loading import WITHOUT_LIBVIRT


def test_expand_takes_a_name_and_a_size(small_disk: DiskMaker) -> None:
    disk = small_disk()
    before = virtual_size(disk)
    result = api.expand(str(disk), "+64M")
    assert (result.result, result.error) == ("changed", None)
    assert virtual_size(disk) == result.after.image.virtual_size == before + 64 * MiB


def test_plan_takes_a_goal_of_its_own_and_touches_nothing(small_disk: DiskMaker) -> None:
    disk = small_disk()
    before = disk.read_bytes()
    result = api.plan(
        disk, api.Goal(api.parse_size("+64M"), swap="move"), api.RunOptions(snapshots="overlay")
    )
    assert (result.result, result.given_up, result.snapshots) == ("planned", (), "overlay")
    assert disk.read_bytes() == before


def test_inspect_tells_the_layout(small_disk: DiskMaker) -> None:
    layout = api.layout_of(api.inspect(str(small_disk())))
    assert [part.name for part in layout.partitions] == ["sda1", "sda2", "sda5"]


def test_refusals_are_exceptions_with_facts(tmp_path: Path) -> None:
    with pytest.raises(api.Refused) as refused:
        api.expand(str(tmp_path / "none.qcow2"), "+1G")
    assert refused.value.exit_code == 3
    with pytest.raises(api.UsageError):
        api.plan(tmp_path / "none.qcow2", "10GB")


def test_everything_that_is_listed_is_there_and_described() -> None:
    assert dir(api) == sorted(api.__all__)
    for name in api.__all__:
        assert getattr(api, name).__doc__, name


def test_the_example_of_the_docstring_runs(
    small_disk: DiskMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_disk("guest.qcow2")
    monkeypatch.chdir(small_disk("other.qcow2").parent)
    lines = (api.__doc__ or "").splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    ")).replace("+10G", "+64M")
    exec(compile(code, "example", "exec"), {})
    assert virtual_size(Path("guest.qcow2")) == 320 * MiB


def test_planning_for_a_disk_at_rest_loads_nothing_that_is_for_running_guests(
    small_disk: DiskMaker,
) -> None:
    image = small_disk()
    program = WITHOUT_LIBVIRT + (
        "import sys; from growdisk import api; api.plan(sys.argv[1], '+16M');"
        "print(*(name for name in sys.modules if name.startswith('growdisk.')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program, str(image)], capture_output=True, text=True, check=True
    )
    last = {
        name.rpartition(".")[2]
        for name in loaded.stdout.split()
        if not name.startswith("growdisk.qcow2.")
    }
    assert "planner" in last
    live = {
        "qmp", "online", "agent", "ssh", "guest_shell", "guest_disk", "guest_volumes",
        "guest_answers", "in_guest",
    }  # fmt: skip
    assert sorted(name for name in last if name in live or name.startswith("live_")) == []

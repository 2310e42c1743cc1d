"""growdisk watch on real disks: full ones grow, nothing twice, no disk stops the others."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.guests.small import SmallDisk
from tests.unit.cli.command import Answer, fingerprint, in_process

RULES = """\
rules:
  - images: "*.qcow2"
    when_used: 0.5%
    step: 50%
    max_size: 450M
    min_interval: 0s
    keep_host_free: 0%
  - images: calm.raw
    when_used: 90%
"""


@pytest.fixture
def world(small_disk: DiskMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROWDISK_STATE_DIR", str(tmp_path / "state"))
    small_disk("full.qcow2")
    small_disk("calm.raw", SmallDisk(image_format="raw"))
    (tmp_path / "broken.qcow2").write_text("no image")
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path


def watch(world: Path, *words: str | Path) -> Answer:
    return in_process("watch", world / "rules.yml", "--json", *words)


def results(answer: Answer) -> dict[str, str]:
    return {Path(disk["path"]).name: disk["result"] for disk in answer.json()["disks"]}


def test_rounds_grow_what_is_full_up_to_its_maximum_and_no_further(world: Path) -> None:
    calm = fingerprint(world / "calm.raw")
    answers = [watch(world) for _ in range(4)]
    grown = [{Path(d["path"]).name: d for d in a.json()["disks"]}["full.qcow2"] for a in answers]
    assert [(disk["result"], disk["new_size"]) for disk in grown] == [
        ("grown", 384 * MiB),
        ("grown", 450 * MiB),
        ("nothing", None),
        ("nothing", None),
    ]
    assert results(answers[0]) == {
        "full.qcow2": "grown",
        "broken.qcow2": "refused",
        "calm.raw": "nothing",
    }
    assert [answer.code for answer in answers] == [3] * 4  # of the broken one, which stops nobody
    assert fingerprint(world / "calm.raw") == calm


def test_a_dry_run_touches_nothing(world: Path) -> None:
    before = fingerprint(world / "full.qcow2")
    assert (
        results(watch(world, "-n", "--metrics", world / "none.prom"))["full.qcow2"] == "would grow"
    )
    assert fingerprint(world / "full.qcow2") == before
    assert not (world / "none.prom").exists()


def test_of_two_rounds_at_once_one_is_refused(world: Path) -> None:
    (world / "state").mkdir()
    fd = os.open(world / "state/watch.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        answer = watch(world)
    finally:
        os.close(fd)
    assert (answer.code, answer.json()["error"]["id"]) == (3, "round-going-on")
    assert results(watch(world))["full.qcow2"] == "grown"


def test_without_a_place_for_its_lock_there_is_no_round(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWDISK_STATE_DIR", "/proc/growdisk")
    answer = watch(world)
    assert (answer.code, answer.json()["error"]["id"]) == (3, "no-place-for-rounds")


def test_a_guest_whose_time_is_up_is_as_it_was(world: Path) -> None:
    (world / "broken.qcow2").unlink()
    (world / "rules.yml").write_text(RULES.replace("keep_host_free: 0%", "timeout: 0.01s"))
    answer = watch(world)
    assert (results(answer)["full.qcow2"], answer.code) == ("restored", 4)
    assert in_process("status", world / "full.qcow2", "--json").json()["state"] in (
        "none",
        "undone",
    )


def test_the_metrics_appear_whole_and_can_be_read_by_others(world: Path) -> None:
    watch(world, "--metrics", world / "growdisk.prom")
    path = world / "growdisk.prom"
    assert path.stat().st_mode & 0o044 == 0o044
    families = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    sizes = {
        Path(s.labels["disk"]).name: s.value for s in families["growdisk_disk_size_bytes"].samples
    }
    assert sizes == {"full.qcow2": 384 * MiB, "calm.raw": 256 * MiB}
    assert not list(world.glob("*.new"))


def test_metrics_that_cannot_be_written_hide_nothing_worse(world: Path) -> None:
    assert watch(world, "--metrics", "/dev/null").json()["error"]["id"] == "metrics-not-written"
    (world / "rules.yml").write_text(RULES.replace("keep_host_free: 0%", "timeout: 0.01s"))
    answer = watch(world, "--metrics", "/dev/null")
    assert (answer.code, results(answer)["full.qcow2"]) == (4, "restored")
    assert "not a regular file" in answer.err


def test_a_full_host_is_told_and_the_exit_code_says_so(world: Path) -> None:
    (world / "broken.qcow2").unlink()
    (world / "rules.yml").write_text(RULES.replace("keep_host_free: 0%", "keep_host_free: 99.9%"))
    answer = watch(world)
    assert (answer.code, results(answer)["full.qcow2"]) == (3, "refused")


def test_what_one_disk_was_promised_is_not_free_for_the_next(world: Path) -> None:
    """The host has room for either of them, and not for both."""
    (world / "broken.qcow2").unlink()
    shutil.copy(world / "full.qcow2", world / "twin.qcow2")
    space = os.statvfs(world)
    step = space.f_bavail * space.f_frsize * 6 // 10 // MiB
    (world / "rules.yml").write_text(
        RULES.replace("step: 50%", f"step: {step}M").replace("    max_size: 450M\n", "")
    )
    answer = watch(world, "-n")
    found = results(answer)
    assert sorted([found["full.qcow2"], found["twin.qcow2"]]) == ["refused", "would grow"]
    (why,) = [disk["detail"] for disk in answer.json()["disks"] if disk["result"] == "refused"]
    assert "for disks that grew in the same round" in why


def test_a_run_that_died_is_finished_by_the_next_round(world: Path) -> None:
    assert in_process("expand", world / "full.qcow2", "+64M", "--keep-snapshots", "-q").code == 0
    folder = world / "full.qcow2.growdisk"
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))  # the end of the run was never written down
    shutil.copy(journal, world / "journal.before")
    if in_process("status", world / "full.qcow2", "--json").json()["state"] != "unfinished":
        pytest.fail("the run is not unfinished: this test has to be written anew")
    assert results(watch(world))["full.qcow2"] == "resumed"


def test_a_libvirt_that_does_not_answer_stops_no_image(world: Path) -> None:
    (world / "broken.qcow2").unlink()
    more = 'connect: "qemu+unix:///system?socket=/nowhere"\n'
    (world / "rules.yml").write_text(more + RULES + '  - domains: "web*"\n')
    answer = watch(world, "--metrics", world / "growdisk.prom")
    disks = {disk["name"].rpartition("/")[2]: disk for disk in answer.json()["disks"]}
    assert (answer.code, disks["full.qcow2"]["result"]) == (3, "grown")
    (silent,) = [disk for disk in disks.values() if not disk["path"]]
    assert (silent["result"], silent["code"]) == ("refused", 3)
    assert "/nowhere" in silent["detail"]
    assert "/nowhere" in (world / "growdisk.prom").read_text()


def test_where_libvirts_module_is_missing_images_are_dealt_with_all_the_same(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "broken.qcow2").unlink()
    (world / "rules.yml").write_text(RULES + '  - domains: "web*"\n')
    monkeypatch.delitem(sys.modules, "growdisk.live.libvirt_domain", raising=False)
    monkeypatch.setitem(sys.modules, "libvirt", None)
    disks = {disk["name"].rpartition("/")[2]: disk for disk in watch(world).json()["disks"]}
    assert (disks["full.qcow2"]["result"], disks["libvirt"]["result"]) == ("grown", "refused")
    assert "Python has no module for it" in disks["libvirt"]["detail"]
    assert in_process("list", "-d", "web", "--json").json()["error"]["id"] == "libvirt-missing"


def test_nothing_begins_in_the_quiet_hours(world: Path) -> None:
    before = fingerprint(world / "full.qcow2")
    (world / "rules.yml").write_text(
        RULES.replace("keep_host_free: 0%", 'quiet_hours: "00:00-23:59"')
    )
    if results(watch(world))["full.qcow2"] == "grown":  # the one minute that is not quiet
        return
    assert fingerprint(world / "full.qcow2") == before

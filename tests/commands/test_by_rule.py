"""expand --when-used on real disks: grown only where it is needed, in the plan as in the run."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from growdisk.workflow.run_places import record_folder
from tests.conftest import DiskMaker
from tests.crash.full_host import small_file_system
from tests.guests.tools import run
from tests.unit.cli.command import Answer, fingerprint, in_process


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    return small_disk()


def expand(image: Path, *words: str, verb: str = "expand") -> Answer:
    return in_process(verb, image, "+100M", "--when-used", *words, "--json")


def test_nothing_to_do_is_nothing_done(image: Path) -> None:
    before = fingerprint(image)
    answer = expand(image, "50%")
    assert (answer.code, answer.json()["result"]) == (0, "nochange")
    assert "full, and grows above 50 %" in answer.json()["reason"]
    assert fingerprint(image) == before
    assert expand(image, "50%", verb="plan").json()["result"] == "nochange"


@pytest.mark.parametrize(
    "option", ["--when-used", "--max-size", "--min-interval", "--keep-host-free"]
)
def test_a_variable_that_was_never_set_is_no_rule_that_always_grows(
    image: Path, option: str
) -> None:
    before = fingerprint(image)
    assert in_process("expand", image, "+100M", option, "", "--json").code == 2
    assert fingerprint(image) == before


def test_it_grows_step_by_step_up_to_its_largest_size_and_no_further(image: Path) -> None:
    sizes = [
        expand(image, "0.5%", "--max-size", "450M").json()["after"]["image"]["virtual_size"]
        for _ in range(4)
    ]
    assert sizes == [356 * MiB, 450 * MiB, 450 * MiB, 450 * MiB]


def test_it_does_not_grow_twice_within_its_interval(image: Path) -> None:
    assert expand(image, "0.5%", "--min-interval", "1h").json()["result"] == "changed"
    answer = expand(image, "0.5%", "--min-interval", "1h")
    assert (answer.code, answer.json()["result"]) == (0, "nochange")
    assert "ago, and is left alone for 1 h" in answer.json()["reason"]


def test_a_growth_in_the_future_holds_nobody_back_for_ever(image: Path) -> None:
    """The clock was wrong then, or is now."""
    assert expand(image, "0.5%").json()["result"] == "changed"
    journal = record_folder(image) / "journal.jsonl"
    for ahead, result in ((600, "nochange"), (20 * 365 * 86400, "planned")):
        os.utime(journal, times=(time.time() + ahead,) * 2)
        assert expand(image, "0.5%", "--min-interval", "1h", verb="plan").json()["result"] == result


def test_a_host_that_would_fill_up_is_a_refusal(image: Path) -> None:
    before = fingerprint(image)
    answer = expand(image, "0.5%", "--keep-host-free", "99.9%")
    assert answer.code == 3
    assert answer.json()["error"]["id"] == "host-would-fill"
    assert fingerprint(image) == before


def test_a_small_host_is_filled_up_to_its_share_and_no_further(image: Path, tmp_path: Path) -> None:
    """A file system of its own, that another program may fill meanwhile."""
    with small_file_system(tmp_path / "host", "ext4", 128 * MiB) as host:
        copy = host / "guest.qcow2"
        run("cp", "--sparse=always", image, copy)
        assert (
            expand(copy, "0.5%", "--keep-host-free", "20%").json()["error"]["id"]
            == "host-would-fill"
        )
        assert expand(copy, "0.5%", "--keep-host-free", "2%").json()["result"] == "changed"
        before = fingerprint(copy)
        (host / "other").write_bytes(os.urandom(64 * MiB))
        answer = expand(copy, "0.5%", "--keep-host-free", "2%")
        assert (answer.code, answer.json()["error"]["id"]) == (3, "host-would-fill")
        assert fingerprint(copy) == before
        (host / "other").unlink()
        assert (
            expand(copy, "0.5%", "--keep-host-free", "2%", verb="plan").json()["result"]
            == "planned"
        )


def test_more_than_the_host_has_is_refused_by_rule_alone(small_disk: DiskMaker) -> None:
    """A sparse image may promise more than the host has, if somebody says so; a rule does not."""
    image = small_disk()
    space = os.statvfs(image)
    # Well beyond it: another test may just be giving some gigabytes back.
    more = f"+{space.f_bavail * space.f_frsize // GiB + 32}G"
    if in_process("plan", image, more, "--json").code != 0:
        pytest.skip("the host has more room than the small disk's file system can ever have")
    assert (
        in_process("plan", image, more, "--when-used", "0.5%", "--json").json()["error"]["id"]
        == "host-would-fill"
    )

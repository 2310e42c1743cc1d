"""--grow, --move, --sector-size: what can be said with them, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command import in_process


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--grow", "sda1"), "cannot read --grow sda1"),
        (("--grow", "sda1="), "cannot read --grow sda1="),
        (("--grow", "sda1=0%"), "cannot read --grow sda1=0%"),
        (("--grow", "sda1=many%"), "cannot read --grow sda1=many%"),
        (("--grow", "sda1=nan%"), "cannot read --grow sda1=nan%"),
        (("--grow", "sda1=101%"), "cannot read --grow sda1=101%"),
        (("--grow", "sda1=60%,sda5=rest"), "cannot read --grow sda1=60%,sda5=rest"),
        (("--lv", "vg/root=many%"), "cannot read --lv vg/root=many%"),
        (("--grow", "sda1=60%", "--grow", "sda5=41%"), "more than 100 %"),
        (("--grow", "sda1=rest", "--grow", "sda5=rest"), "only one --grow can take the rest"),
        (("--grow", "sda1=10"), "cannot read the size '10'"),
        (("--grow", "sda1=-1G"), "never shrinks"),
        (("--move", "two"), "'two' is not a partition"),
        (("--sector-size", "1024"), "--sector-size cannot be '1024'"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    classic: Path, words: tuple[str, ...], what: str
) -> None:
    answer = in_process("plan", classic, "+64M", *words)
    assert (answer.code, what in answer.err) == (2, True), answer


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--grow", "sda5=rest"), "it holds swap"),
        (("--grow", "sda9=rest"), "its partitions are: sda1, sda2, sda5"),
        (("--grow", "sda1=+1G"), "is available"),
        (("--grow", "sda1=10M"), "never shrinks a partition"),
        (("--move", "9"), "its partitions are: sda1, sda2, sda5"),
        (("--move", "1"), "it is named with --move as well"),
        (("--to-gpt",), "it has a boot flag"),
    ],
)
def test_what_this_disk_cannot_do_is_refused(
    classic: Path, words: tuple[str, ...], why: str
) -> None:
    answer = in_process("plan", classic, "+64M", *words)
    assert (answer.code, why in answer.err) == (3, True), answer


def test_a_share_of_the_space_leaves_the_rest_free(classic: Path) -> None:
    after = in_process("plan", classic, "+64M", "--grow", "sda1=50%", "--json").json()["after"]
    (root,) = (part for part in after["partitions"] if part["number"] == 1)
    (free,) = after["free"]
    assert root["start"] + root["size"] == free["start"]
    # of the swap's place, the gaps and the new space
    assert abs(free["size"] - (82 << 20) // 2) <= 1 << 20


def test_swap_that_is_moved_by_its_number_is_kept(classic: Path) -> None:
    plan = in_process("plan", classic, "+64M", "--move", "5", "--json").json()
    assert plan["given_up"] == []
    assert "remake-swap" in [step["name"] for step in plan["steps"]]


def test_show_names_what_is_in_the_way_and_the_options(classic: Path) -> None:
    blockers = in_process("show", classic, "--json").json()["blockers"]
    assert [blocker["options"] for blocker in blockers] == [
        [],
        ["--swap drop", "--swap move", "--swap file"],
    ]
    assert blockers[1]["why"] == "sda5, swap, 16.0 MiB, stands between sda1 and the end of the disk"


@pytest.mark.parametrize("size", [(), ("+64M",)])
def test_a_volume_of_a_disk_without_lvm_is_refused(classic: Path, size: tuple[str, ...]) -> None:
    answer = in_process("plan", classic, *size, "--lv", "vg0/root")
    assert (answer.code, "there is no LVM on this disk" in answer.err) == (3, True)

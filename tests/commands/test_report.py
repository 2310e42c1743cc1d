"""What people are told: nothing that matters is cut, and each answer says what to do next."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.conftest import DiskMaker
from tests.guests.tools import run
from tests.unit.cli.command import in_process


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    return small_disk()


def test_a_plan_ends_with_the_command_that_carries_it_out(image: Path) -> None:
    answer = in_process("plan", image, "+64M", "--swap", "move")
    command = answer.out.splitlines()[-1].removeprefix("run it: ")
    assert command == f"growdisk expand {shlex.quote(str(image))} +64M --swap move"
    assert in_process(*shlex.split(command)[1:], "-q").code == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["plan", "plan", "+64M"], "expand plan +64M"),
        (["--log", "log", "plan", "plan", "+64M"], "--log log expand plan +64M"),
        (["-o", "expand", "plan", "plan", "+64M"], "-o expand expand plan +64M"),
        (["expand", "-n", "plan", "+64M"], "expand plan +64M"),
        (["plan", "--", "plan", "+64M"], "expand -- plan +64M"),
    ],
    ids=str,
)
def test_an_image_may_be_called_plan(
    image: Path, monkeypatch: pytest.MonkeyPatch, before: list[str], after: str
) -> None:
    monkeypatch.chdir(image.parent)
    image.rename("plan")
    answer = in_process(*before)
    assert answer.out.splitlines()[-1] == f"run it: growdisk {after}"


def test_expand_without_a_size_says_how_to_give_it_more(image: Path) -> None:
    in_process("expand", image)
    answer = in_process("expand", image)
    assert "nothing to do:" in answer.out
    assert answer.out.splitlines()[-1] == f"give it more: growdisk expand {image} +10G"


@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_a_rule_that_says_nothing_is_needed_is_not_answered_with_more(
    image: Path, verb: str
) -> None:
    answer = in_process(verb, image, "--when-used", "99%")
    assert "nothing to do:" in answer.out and "give it more" not in answer.out


def test_quiet_is_silent_when_it_succeeds(image: Path) -> None:
    answer = in_process("expand", image, "+64M", "-q")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert in_process("expand", image, "-q").out == ""


def test_quiet_still_shows_what_was_asked_for(image: Path) -> None:
    assert "rewrite-partitions" in in_process("plan", image, "+64M", "-q").out
    assert "sda1" in in_process("show", image, "-q").out


def test_all_changed_files_are_named_and_no_line_is_too_long(image: Path) -> None:
    out = in_process("expand", image, "+64M").out
    told = " ".join(out.split("in the guest: ")[1].split("backend:")[0].split())
    assert told == "/etc/fstab, /etc/initramfs-tools/conf.d/resume, /boot/initrd.img-6.1.0-0-tiny"
    assert max(map(len, out.splitlines())) <= 80


def test_swap_that_is_gone_is_said_with_the_way_to_have_it_again(image: Path) -> None:
    said = " ".join(in_process("expand", image, "+64M").out.split())
    # Also on btrfs, where a file that is copied on write would be refused.
    assert "this disk has no swap now" in said and "chattr -f +C /swapfile; fallocate" in said


@pytest.mark.parametrize("swap", ["move", "file"])
def test_swap_that_stays_is_not_mourned(image: Path, swap: str) -> None:
    assert "no swap now" not in in_process("expand", image, "+64M", "--swap", swap).out


def test_resize_says_that_nothing_inside_grew(image: Path) -> None:
    answer = in_process("image", "resize", image, "+64M")
    assert f"growdisk expand {image} grows them" in answer.err


def test_commands_that_are_printed_leave_the_line_alone(image: Path) -> None:
    """-x prints each external command on a line of its own, also on a terminal."""
    script = f"growdisk expand {shlex.quote(str(image))} +64M -x --yes"
    done = subprocess.run(
        ["script", "-qec", script, "/dev/null"], capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": f"{Path(__import__('sys').executable).parent}:/usr/bin:/bin:/usr/sbin",
            "TERM": "xterm"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "\x1b[2K" not in done.stdout


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """ext4, swap and an unknown partition in a row: no system whose files could be changed."""
    disk, root, swap = (tmp_path / name for name in ("strange.raw", "root", "swap"))
    for file, size in ((disk, "100M"), (root, "60M"), (swap, "8M")):
        run("truncate", "-s", size, file)
    table = "label: gpt\nstart=2048, size=60MiB\nsize=8MiB, type=swap\nsize=8MiB\n"
    run("sfdisk", "-q", "--no-reread", disk, stdin=table)
    run("mke2fs", "-q", "-t", "ext4", root)
    run("mkswap", "-q", swap)
    for file, at in ((root, 1), (swap, 61)):
        run("dd", f"if={file}", f"of={disk}", "bs=1M", f"seek={at}", "conv=notrunc", "status=none")
    return disk


def test_swap_that_a_guest_may_wait_for_moves_whatever_else_is_given_up(strange: Path) -> None:
    plan = in_process("plan", strange, "+64M", "--delete", "3", "--json").json()
    assert [part["number"] for part in plan["after"]["partitions"]] == [1, 2]
    assert [step["name"] for step in plan["steps"]][-2:] == ["remake-swap", "repair-guest"]
    told = " ".join(plan["notes"])
    assert "sda3 is given up, and the next boot may wait for it" in told
    assert "swap is moved, not given up" in told
    drop = in_process("plan", strange, "+64M", "--delete", "3", "--swap", "drop", "--json").json()
    assert [part["number"] for part in drop["after"]["partitions"]] == [1]

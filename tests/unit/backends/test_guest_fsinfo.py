"""What a guest's agent reports of its file systems: kept if plausible, else left out."""

from __future__ import annotations

import pytest

from growdisk.api.fleet.running_guests import (
    FsInfoMissing,
    GuestDiskAddress,
    GuestFileSystem,
    file_systems_in_guest,
)
from growdisk.live.guest_shell import AgentError


def told(*answer: object) -> tuple[GuestFileSystem, ...]:
    return file_systems_in_guest(lambda *_: list(answer))


ROOT = {"mountpoint": "/", "type": "ext4", "name": "vda1", "total-bytes": 100, "used-bytes": 80,
    "disk": [
    {"bus-type": "virtio", "dev": "/dev/vda1", "serial": "abc", "target": 0,
        "pci-controller": {"bus": 1}},
]}  # fmt: skip


def test_a_mounted_file_system_with_its_disk() -> None:
    assert told(ROOT) == (
        GuestFileSystem("/", "ext4", 100, 80, (GuestDiskAddress("/dev/vda1", "abc"),)),
    )


@pytest.mark.parametrize(
    "lie",
    [
        {"used-bytes": 101}, {"used-bytes": -1}, {"total-bytes": 0}, {"total-bytes": 1 << 80},
        {"total-bytes": "much"},
        {"total-bytes": None}, {"type": "squashfs"},
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_left_out(lie: dict[str, object]) -> None:
    assert told(ROOT | lie) == ()


def test_an_old_agent_tells_no_sizes() -> None:
    assert told({"mountpoint": "/", "type": "xfs", "name": "vda1", "disk": []}) == ()


@pytest.mark.parametrize("answer", [["nonsense", 7, None], [{}], []])
def test_nonsense_is_nothing(answer: object) -> None:
    assert file_systems_in_guest(lambda *_: answer) == ()


@pytest.mark.parametrize("error", [AgentError("no such command"), TimeoutError("silent")])
def test_who_does_not_answer_is_told_as_such(error: Exception) -> None:
    def call(*_: object) -> object:
        raise error

    with pytest.raises(FsInfoMissing):
        file_systems_in_guest(call)


@pytest.mark.parametrize("answer", [{}, "much", 7, None, [ROOT] * 1001])
def test_an_answer_that_is_no_list_of_file_systems_is_none(answer: object) -> None:
    with pytest.raises(FsInfoMissing):
        file_systems_in_guest(lambda *_: answer)


@pytest.mark.parametrize("disk", [[{"dev": 7}], {"dev": "/dev/vda"}, "vda", 7])
def test_disks_that_are_no_disks_are_none(disk: object) -> None:
    assert [one.disks for one in told(ROOT | {"disk": disk})] == [()]


def test_a_path_that_no_kernel_would_have_is_left_out() -> None:
    assert told(ROOT | {"mountpoint": "/" + "x" * 5000}) == ()

"""growdisk expand of a loop device, and of a disk behind an address, killed at any change.

Their runs lie in the state folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.crash.whole import Host, some
from tests.crash.whole_disks import NEW, assert_same, make_disk
from tests.guests.loops import loop
from tests.hosts.far import qemu_nbd, serving

for_root = pytest.mark.skipif(os.geteuid() != 0, reason="loop devices are root's")


class Place:
    """The file `disk`, and how it is named while it can be reached: as a device, by an address."""

    def __init__(self, folder: Path, kind: str) -> None:
        pristine, self.grown = folder / "pristine", folder / "grown.raw"
        pristine.mkdir()
        disk = make_disk(pristine / "disk.raw", filesystem=False)
        self.is_device = kind == "device"
        if not self.is_device:  # it was made larger at its server
            os.truncate(disk, 32 * MiB)
        self.host, self.socket = Host(folder / "host", pristine), folder / "far"
        self.disk = self.host.disks / "disk.raw"
        with self.reached() as name:
            self.changes = self.host.changes(*self.expand(name))
        self.disk.rename(self.grown)
        assert self.host.left_over() == []

    @contextmanager
    def reached(self) -> Iterator[str]:
        self.host.reset()
        if self.is_device:
            with loop(self.disk) as device:
                yield str(device)
        else:
            with serving(qemu_nbd(self.disk, self.socket), self.socket):
                yield f"nbd+unix:///web01?socket={self.socket}"

    def expand(self, name: str) -> tuple[str, ...]:
        size = [NEW] if self.is_device else []
        return ("expand", name, *size, "--partition", "1", "--backend", "direct")

    def killed(self, changes: Iterable[int]) -> set[str]:
        found = set()
        for change in changes:
            with self.reached() as name:
                if self.host.command(*self.expand(name), dies_before=change) is not None:
                    break  # how a disk is read and copied varies a little
                state, grown = self.ended(name, change)
            found.add(state)
            assert_same(self.disk, self.grown if grown else self.host.pristine / "disk.raw")
            assert self.host.left_over() == [], change
        return found

    def ended(self, name: str, change: int) -> tuple[str, bool]:
        """How it stood, and whether it is grown at the end."""
        host = self.host
        told = host.answer("status", name, "--json").json()
        is_open = told["state"] == "unfinished"
        host.answer("plan", name, "--partition", "1", code=3 if is_open else 0)
        if self.is_device:
            size = host.answer("list", name, "--json").json()["disks"][0]["virtual_size"]
            assert size in (16 * MiB, 32 * MiB)
            if is_open:  # by its other name, too
                host.answer("image", "resize", self.disk, "+1M", code=3)
        if not is_open:
            done = told["state"] == "done"
            host.answer(*(["resume", name] if done and change % 2 else self.expand(name)))
            return told["state"], True
        verb = told["next"][change // 2 % len(told["next"])]
        host.answer(verb, name)
        return told["state"], verb == "resume"


@for_root
def test_an_expand_of_a_device_that_is_killed(tmp_path: Path) -> None:
    place = Place(tmp_path, "device")
    assert place.killed(some(place.changes)) == {"none", "unfinished", "done"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pytest.param("device", marks=for_root), "address"])
def test_an_expand_of_a_device_or_address_that_is_killed_at_any_change(
    tmp_path: Path, kind: str
) -> None:
    place = Place(tmp_path, kind)
    assert place.killed(range(place.changes)) == {"none", "unfinished", "done"}

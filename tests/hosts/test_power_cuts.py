"""A host's power is cut while growdisk grows its LVM volume: finished, or all as before.

The host's own disk holds the volume group, the guest's volume, and the volume that the run is kept
in. What the host had not flushed is lost (power.py). `growdisk status` finds the run, and resume or
rollback ends it.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.crash.sparse import SparseBytes
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.hosts.machine import NEW, OLD, STATE, HostMachine, host_machine
from tests.hosts.power import Noted, mark, noted, power_cut, watched_host

pytestmark = [pytest.mark.appliance, pytest.mark.timeout(3600)]
_KINDS = {"thick": "-L 128M vg0", "thin": "--type thin -V 128M --thinpool pool vg0"}
_VOLUME = "/dev/vg0/web01"
_COMES_UP = f"lvm vgchange -q -ay vg0 >/dev/null; mkdir {STATE}; mount /dev/vg0/state {STATE}"


class World:
    """A host with a guest on a volume, and all that its kernel did while growdisk grew that."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        guest = make_disk(
            folder / "guest.raw",
            SmallDisk(layout=Layout.CLASSIC, size=OLD, swap_size=16 * MiB, image_format="raw"),
        )
        self.before = Before.of(guest, "raw")
        disk = folder / "disk.raw"
        with disk.open("xb") as file:
            file.truncate(GiB)
        self._make(disk, kind)
        self.start = SparseBytes.load(disk)
        self.events = self._recorded(disk)

    def _make(self, disk: Path, kind: str) -> None:
        with host_machine(disk, self.before.copy) as host:
            host.make_group()
            if kind == "thin":
                host.sh(
                    "lvm lvcreate -q -y --type thin-pool -L 256M --poolmetadatasize 4M -n pool "
                    "vg0 >/dev/null"
                )
            host.sh(
                f"lvm lvcreate -q -y -n web01 {_KINDS[kind]} >/dev/null; dd if=/dev/ubdb "
                f"of={_VOLUME} bs=1M"
            )
            host.sh(f"umount {STATE}; lvm vgchange -q -an vg0 >/dev/null; sync")

    def _recorded(self, disk: Path) -> list[Noted]:
        log = self.folder / "expand.log"
        with watched_host(disk, log) as host:
            host.sh(_COMES_UP)
            mark(host)
            answer = host.growdisk("expand", _VOLUME, "+64M")
            assert (answer.code, answer.result) == (0, "changed"), answer
        events = noted(log)
        log.unlink()
        return events

    def cut_and_ended(self, chance: random.Random, verb: str, *, twice: bool = False) -> str:
        """One power cut, or another one while its run is ended; judged by everybody else.

        What was done, in words.
        """
        cut = power_cut(self.start, self.events, chance)
        note = f"cut {cut.note}"
        if twice:
            events = self._ended_and_watched(cut.content, verb)
            cut = power_cut(cut.content, events, chance)
            note += f"; {verb} cut {cut.note}"
        disk = self.folder / "cut.raw"
        cut.content.save(disk)
        with host_machine(disk) as host:
            host.sh(_COMES_UP)
            try:
                return f"{note}: {self._end_and_judge(host, verb)}"
            except AssertionError as error:
                raise AssertionError(note) from error

    def _ended_and_watched(self, content: SparseBytes, verb: str) -> list[Noted]:
        disk, log = self.folder / "cut.raw", self.folder / "ended.log"
        content.save(disk)
        with watched_host(disk, log) as host:
            host.sh(_COMES_UP)
            mark(host)
            host.growdisk(verb, _VOLUME)
        events = noted(log)
        log.unlink()
        return events

    def _end_and_judge(self, host: HostMachine, verb: str) -> str:
        done = self._end(host, verb)
        now = host.content(_VOLUME, "judged.raw")
        if done in ("rollback", "undone"):
            assert_unchanged(now, self.before)
        else:
            assert now.stat().st_size == NEW
            assert_grown(now, self.before)
        assert host.sh(f"ls {STATE}/runs") == ""
        return done

    def _end(self, host: HostMachine, verb: str) -> str:
        """How it ends.

        A run that was cut before its first record has done nothing; the next one does not mind it.
        """
        found = str(host.growdisk("status", _VOLUME).document["state"])
        if found == "none":
            assert host.size(_VOLUME) == OLD
            words = ("expand", _VOLUME, "+64M")
        elif found == "unfinished":
            words = (verb, _VOLUME)
        else:  # only what it leaves behind was not cleared up yet
            assert host.growdisk("resume", _VOLUME).result == "nochange"
            return found
        answer = host.growdisk(*words)
        if (
            verb == "rollback"
            and answer.code == 3
            and "growdisk resume finishes that" in str(answer.error["why"])
        ):
            words, answer = ("resume", _VOLUME), host.growdisk("resume", _VOLUME)
        assert answer.code == 0, answer
        return words[0]


def test_a_host_that_loses_its_power_has_the_guest_grown_or_as_it_was(tmp_path: Path) -> None:
    world, chance = World(tmp_path, "thick"), random.Random(14)
    for verb in ("resume", "rollback", "resume"):
        world.cut_and_ended(chance, verb)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(_KINDS))
def test_thirty_power_cuts_and_ten_more_while_they_are_mended(tmp_path: Path, kind: str) -> None:
    world, chance = World(tmp_path, kind), random.Random(kind)
    for number in range(20):
        world.cut_and_ended(chance, ("resume", "rollback")[number % 2], twice=number >= 15)

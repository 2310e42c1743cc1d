"""A host's power is cut while growdisk grows its ZFS volume: finished, or all as before.

The host's one disk holds the pool with the guest's volume, and the folder that the run is kept in:
a file system of the pool, or ext4 beside it. QEMU records all that reaches the disk; what the host
had not flushed is lost (power.py).
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.units import GiB
from tests.crash.sparse import SparseBytes
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.guests.tools import run
from tests.hosts.machine import NEW, OLD
from tests.hosts.power import Cut, Mark, Noted, Write, noted, power_cut
from tests.hosts.zfs import in_zfs_host

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(7200)]
_MARK = b"here begins what is cut short".ljust(4096, b".")
_PARTS = "size=640M\nsize=256M\nsize=1M\n"
_FUNCTIONS = """
volume=/dev/zvol/tank/web01; export GROWDISK_STATE_DIR=/run/state; mkdir -p /run/state
begins() { dd if=/exchange/mark of=/dev/vda3 bs=4096 oflag=direct status=none; }
facts() {
    blockdev --getsize64 $volume
    zfs get -Hpo value volsize,refreservation tank/web01
}
asked() {
    status=0; growdisk --json "$@" >/exchange/$name.$1 2>/exchange/$name.said || status=$?
    echo $1 $status >>/exchange/$name.done
    return $status
}
comes_up() {  # after a crash
    zpool import -f -d ${1}1 tank; udevadm settle
    mountpoint -q /run/state || mount ${1}2 /run/state
}
goes_down() {
    mountpoint -q /run/state && umount /run/state
    tries=0; until zpool export tank; do tries=$((tries + 1)); [ $tries -lt 60 ]; sleep 1; done
}
ended() {
    facts >/exchange/$name.found; asked status $volume
    case $(tr -d ' \\n' </exchange/$name.status) in
    *'"state":"none"'*) asked expand $volume +64M ;;
    *'"state":"unfinished"'*)
        asked $1 $volume || { grep -q 'growdisk resume finishes that' /exchange/$name.$1 && asked resume $volume; } ;;
    *) asked resume $volume ;;
    esac || true
}
"""  # noqa: E501
_STATE = {
    "dataset": "zfs create -o mountpoint=/run/state tank/state",
    "ext4": "mkfs.ext4 -q /dev/vda2; mount /dev/vda2 /run/state",
}
_MAKE = """
zpool create -m none tank /dev/vda1; zfs create -V 128M tank/web01; udevadm settle
dd if=/dev/vdb of=$volume bs=1M status=none
{state}; facts >/exchange/before
sync; zpool sync; begins
name=first; asked expand $volume +64M
sync; zpool sync
"""
_JUDGED = """
name={name}; comes_up /dev/{disk}; ended {verb}
facts >/exchange/{name}.facts; ls /run/state/runs >/exchange/{name}.left
dd if=$volume of=/exchange/{name}.raw bs=1M conv=sparse status=none; goes_down
"""


@dataclass
class _Case:
    cut: Cut
    verb: str


class World:
    """A host with a guest on a ZFS volume, and all that its kernel did while growdisk grew that."""

    def __init__(self, folder: Path, before: Before, kind: str) -> None:
        self.folder, self.before = folder, before
        self.start = SparseBytes(GiB)
        disk = self._file("disk.raw", self.start)
        run("sfdisk", "-q", "-X", "gpt", disk, stdin=_PARTS)
        self.start = SparseBytes.load(disk)
        exchange, self.events = self._noted(_MAKE.format(state=_STATE[kind]), disk, before.copy)
        self.facts = (exchange / "before").read_text().split()
        assert json.loads((exchange / "first.expand").read_text())["result"] == "changed"

    def cut(self, chance: random.Random, verb: str, *, twice: bool = False) -> _Case:
        """A power cut, or another one while its run is ended."""
        first = power_cut(self.start, self.events, chance)
        if not twice:
            return _Case(first, verb)
        script = f"name=first; comes_up /dev/vda; begins; ended {verb}; sync; zpool sync"
        _, events = self._noted(script, self._file("cut.raw", first.content))
        second = power_cut(first.content, events, chance)
        return _Case(Cut(second.content, f"{first.note}; {verb} cut {second.note}"), verb)

    def judged(self, cases: Sequence[_Case]) -> list[str]:
        """The faults found when a host with all the disks has ended each run; other tools judge."""
        disks = [
            self._file(f"cut{number}.raw", case.cut.content) for number, case in enumerate(cases)
        ]
        exchange = self._exchange()
        script = "".join(
            _JUDGED.format(name=f"case{number}", disk=f"vd{'abcdefgh'[number]}", verb=case.verb)
            for number, case in enumerate(cases)
        )
        in_zfs_host(_FUNCTIONS + script, exchange, disks)
        return [self._judged(exchange, f"case{number}", case) for number, case in enumerate(cases)]

    def _judged(self, exchange: Path, name: str, case: _Case) -> str:
        done = [line.split() for line in (exchange / f"{name}.done").read_text().splitlines()]
        found, facts = (
            (exchange / f"{name}.{when}").read_text().split() for when in ("found", "facts")
        )
        verb, status = done[-1]
        note = (
            f"cut {case.cut.note}: {' '.join(' '.join(words) for words in done)}, {found[1]} "
            f"-> {facts[1]}"
        )
        assert status == "0", f"{note}\n{(exchange / f'{name}.{verb}').read_text()}"
        assert (exchange / f"{name}.left").read_text() == "", note
        state = json.loads((exchange / f"{name}.status").read_text())["state"]
        assert state != "none" or found == self.facts, note
        now = exchange / f"{name}.raw"
        try:
            if verb == "rollback" or state == "undone":
                assert facts == self.facts
                assert_unchanged(now, self.before)
            else:
                assert facts[:2] == [str(NEW)] * 2 and int(facts[2]) > int(self.facts[2]) > OLD
                assert_grown(now, self.before)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(note) from error
        return note

    def _noted(self, script: str, disk: Path, *others: Path) -> tuple[Path, list[Noted]]:
        exchange, log = self._exchange(), self._file("writes.log", SparseBytes(4 * GiB))
        (exchange / "mark").write_bytes(_MARK)
        in_zfs_host(_FUNCTIONS + script, exchange, [disk, *others], log)
        return exchange, [
            Mark() if isinstance(event, Write) and event.data == _MARK else event
            for event in noted(log)
        ]

    def _file(self, name: str, content: SparseBytes) -> Path:
        path = self.folder / name
        content.save(path)
        return path

    def _exchange(self) -> Path:
        path = self.folder / "exchange"
        run("rm", "-rf", path)
        path.mkdir()
        return path


@pytest.mark.parametrize("kind", list(_STATE))
def test_a_host_of_zfs_that_loses_its_power_has_the_guest_grown_or_as_it_was(
    before: Before, tmp_path: Path, kind: str
) -> None:
    world, chance = World(tmp_path, before, kind), random.Random(kind)
    cases = [world.cut(chance, ("resume", "rollback")[number % 2]) for number in range(6)]
    cases += [world.cut(chance, verb, twice=True) for verb in ("resume", "rollback")]
    world.judged(cases)

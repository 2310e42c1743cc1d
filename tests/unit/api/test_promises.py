"""Disks that grow in one round share the host's space: what one was promised is not free."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from growdisk.api import host_space as module
from growdisk.api.host_space import Promises
from growdisk.errors import Refused
from growdisk.host.free_space import HostRoom
from growdisk.units import GiB
from tests.refusals import raises

SRV = HostRoom(30 * GiB, 100 * GiB, "on /srv", shared="8:1")
POOL = HostRoom(
    50 * GiB, 100 * GiB, "in the thin pool vg/pool", 10 * GiB, 70 * GiB, shared="vg/pool"
)


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> dict[str, HostRoom]:
    known = {
        "/srv/a": SRV,
        "/srv/b": replace(SRV, where="on /srv/sub"),
        "/home/c": replace(SRV, shared="8:2"),
    }
    monkeypatch.setattr(module, "room_for", lambda path: known[str(path)])
    return known


def grown(promises: Promises, path: str, *, kept: bool = True) -> None:
    with promises.of(path, 15 * GiB, 0.1) as promise:
        promise.kept = kept


def test_the_second_on_one_file_system_is_refused_and_one_elsewhere_is_not(
    rooms: dict[str, HostRoom],
) -> None:
    promises = Promises()
    grown(promises, "/srv/a")
    with raises("host-would-fill") as caught:
        grown(promises, "/srv/b")
    assert (
        "30.0 GiB are free on /srv/sub, 15.0 GiB of it for disks that grew in the same round"
        in caught.value.why
    )
    grown(promises, "/home/c")


def test_what_did_not_grow_leaves_its_room_to_others(rooms: dict[str, HostRoom]) -> None:
    promises = Promises()
    grown(promises, "/srv/a", kept=False)
    grown(promises, "/srv/b")


@pytest.mark.parametrize("kept", [True, False])
def test_one_that_is_under_way_is_waited_for(rooms: dict[str, HostRoom], kept: bool) -> None:
    promises, refused = Promises(), list[str]()

    def second() -> None:
        try:
            grown(promises, "/srv/b")
        except Refused as error:
            refused.append(error.what)

    with promises.of("/srv/a", 15 * GiB, 0.1) as first:
        other = Thread(target=second)
        other.start()
        other.join(0.1)
        assert other.is_alive()
        first.kept = kept
    other.join(10)
    assert (other.is_alive(), len(refused)) == (False, int(kept))


def test_a_pool_knows_itself_of_volumes_that_have_grown(rooms: dict[str, HostRoom]) -> None:
    promises = Promises()
    rooms["/dev/vg/a"] = POOL
    grown(promises, "/dev/vg/a")
    rooms["/dev/vg/a"] = replace(POOL, promised=85 * GiB)
    grown(promises, "/dev/vg/a")
    rooms["/dev/vg/a"] = replace(POOL, promised=100 * GiB)
    with raises("pool-overcommitted"):
        grown(promises, "/dev/vg/a")


def test_an_image_that_is_not_there_has_no_room_to_share(tmp_path: Path) -> None:
    grown(Promises(), str(tmp_path / "gone"))
    grown(Promises(), "")

"""A real ZFS volume, grown from its pool, taken back, killed, resumed, refused beyond it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.judges import Before, assert_grown
from tests.guests.tools import run
from tests.hosts.machine import NEW, OLD
from tests.hosts.zfs import in_zfs_host

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(3600)]
_VOLUME = "/dev/zvol/tank/web01"
_SCRIPT = f"""
mkdir /run/state; mount /dev/vdc /run/state; export GROWDISK_STATE_DIR=/run/state
zpool create -m none tank /dev/vda
zfs create -V 128M tank/web01; udevadm settle
dd if=/dev/vdb of={_VOLUME} bs=1M status=none
facts() {{
    blockdev --getsize64 {_VOLUME} >/exchange/$1.size
    zfs get -Hpo value refreservation tank/web01 >/exchange/$1.own
}}
asked() {{
    name=$1; shift
    growdisk --json "$@" >/exchange/$name.json || echo "$*: exit $?"
    facts $name
}}
facts before
asked grown expand {_VOLUME} +64M --keep-snapshots
asked back rollback {_VOLUME}
cmp /dev/vdb {_VOLUME}
asked refused expand {_VOLUME} +4G
/usr/bin/python3 -m growdisk.cli.start expand {_VOLUME} +64M & pid=$!
until grep -qs '"step": "grow-filesystem"' /run/state/runs/*/journal.jsonl; do kill -0 $pid; sleep 0.02; done
kill -9 $pid
tries=0; until zpool export tank; do tries=$((tries + 1)); [ $tries -lt 60 ]; sleep 1; done
zpool import -d /dev tank; udevadm settle
asked status status {_VOLUME}
asked resumed resume {_VOLUME}
dd if={_VOLUME} of=/exchange/grown.raw bs=1M conv=sparse status=none
zfs create -s -V 128M -o volblocksize=64k tank/web02; udevadm settle
dd if=/dev/vdb of=/dev/zvol/tank/web02 bs=1M status=none
asked sparse expand /dev/zvol/tank/web02 +2000001k
blockdev --getsize64 /dev/zvol/tank/web02 >/exchange/sparse.size
"""  # noqa: E501


def test_a_volume_of_zfs_is_grown_and_taken_back_and_gone_on_with(
    before: Before, tmp_path: Path
) -> None:
    disks = [tmp_path / "pool.raw", before.copy, tmp_path / "state.raw"]
    for path, size in ((disks[0], GiB), (disks[2], 256 * MiB)):
        with path.open("xb") as file:
            file.truncate(size)
    run("mkfs.ext4", "-q", disks[2])
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    said = in_zfs_host(_SCRIPT, exchange, disks)

    def of(name: str) -> tuple[str, int]:
        document = json.loads((exchange / f"{name}.json").read_text())
        return str(document.get("result") or document["state"]), int(
            (exchange / f"{name}.size").read_text()
        )

    assert [of(name) for name in ("grown", "back", "refused", "status", "resumed")] == [
        ("changed", NEW),
        ("restored", OLD),
        ("refused", OLD),
        ("unfinished", NEW),
        ("changed", NEW),
    ], said
    assert "storage-full" in (exchange / "refused.json").read_text()
    reserved = [int((exchange / f"{name}.own").read_text()) for name in ("before", "grown", "back")]
    assert reserved[0] == reserved[2] < reserved[1]
    assert_grown(exchange / "grown.raw", before)
    assert of("sparse") == ("changed", -(-(OLD + 2000001 * 1024) // (64 << 10)) * (64 << 10))

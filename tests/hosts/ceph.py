"""A host with a real Ceph of one node, and an image of it that the kernel has mapped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.units import MiB
from tests.hosts.machine import STATE, HostMachine, host_machine

_FSID = "5e1f0c1d-0000-4000-8000-0000000000ce"
_OSD = "5e1f0c1d-0000-4000-8000-0000000000cf"
_CONF = f"""
[global]
fsid = {_FSID}
mon host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
keyring = /dev/null
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
osd objectstore = memstore
memstore device bytes = 536870912
rbd default features = 1
run dir = /run/ceph
log file = /run/ceph/$name.log
admin socket = /run/ceph/$name.asok
pid file = /run/ceph/$name.pid
mon data = /run/ceph/mon
osd data = /run/ceph/osd
"""
_CLUSTER = f"""
hostname host; ip link set lo up; echo '127.0.0.1 localhost host' >/etc/hosts
mkdir -p /run/ceph/mon /run/ceph/osd /etc/ceph
cp /exchange/ceph.conf /etc/ceph/
monmaptool --create --addv a '[v2:127.0.0.1:3300,v1:127.0.0.1:6789]' --fsid {_FSID} /run/monmap >/dev/null
ceph-mon --mkfs -i a --monmap /run/monmap
ceph-mon -i a
timeout 120 ceph osd new {_OSD}
ceph-osd -i 0 --mkfs --osd-uuid {_OSD}
ceph-osd -i 0
until timeout 60 ceph osd stat | grep -q '1 up'; do sleep 1; done
timeout 60 ceph osd pool create vms 8 2>/dev/null
timeout 60 rbd create --size 128 vms/web01
modprobe rbd
timeout 60 rbd map --options noudev vms/web01 >/dev/null
dd if=/dev/ubdb of=/dev/rbd0 bs=1M
"""  # noqa: E501
# As QEMU of another host has it: by librbd.
_CLIENT = """
import rados, rbd, time
with rados.Rados(conffile="/etc/ceph/ceph.conf") as cluster, cluster.open_ioctx("vms") as pool:
    with rbd.Image(pool, "web01"):
        open("/run/has-it", "w").close()
        time.sleep(600)
"""
CLIENT_COMES = (
    "rm -f /run/has-it; python3 /exchange/client.py >/dev/null 2>&1 & echo $! >/run/client; "
    "until [ -e /run/has-it ]; do sleep 0.1; done"
)
CLIENT_GOES = (
    "kill $(cat /run/client); until [ $(rbd status vms/web01 | grep -c watcher=) = 1 ]; "
    "do sleep 1; done"
)


@contextmanager
def ceph_host(guest: Path, folder: Path) -> Iterator[HostMachine]:
    """What the file `guest` holds is the image vms/web01 of 128 MiB, mapped as /dev/rbd0."""
    disk = folder / "disk.raw"
    disk.touch()
    os.truncate(disk, 256 * MiB)
    with host_machine(disk, guest) as machine:
        machine.sh(f"mkfs.ext4 -q /dev/ubda; mkdir -p {STATE}; mount /dev/ubda {STATE}")
        (machine.exchange / "ceph.conf").write_text(_CONF)
        (machine.exchange / "client.py").write_text(_CLIENT)
        machine.sh(_CLUSTER)
        yield machine

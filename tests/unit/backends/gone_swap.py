"""The swap partition that is gone in the tests of a guest's files."""

from __future__ import annotations

from growdisk.guest_config.removed_partition import RemovedPartition

UUID, PARTUUID = "e0d6a1f3-8b7c-4a55-9f21-7c3b2a1d0e9f", "4b5c6d7e-07"
SWAP = RemovedPartition(number=7, uuid=UUID, label="old", partuuid=PARTUUID, partlabel="Swap space")
OPTIONS, CLEAN = f"root=LABEL=r resume=UUID={UUID} quiet", "root=LABEL=r quiet"
FSTAB = "LABEL=r / ext4 defaults 0 1\n"
GONE = "# removed by growdisk: "
SWAP_UNIT = f"[Swap]\nWhat=/dev/disk/by-partuuid/{PARTUUID}\n"
DEPLOYED = "/ostree/deploy/fedora/deploy/0123.0/etc"
IN_THE_STORE = "it is a link and stays"

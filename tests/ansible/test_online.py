"""A running Debian guest grows by ansible-playbook, once; a second run changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from growdisk.units import GiB
from tests.ansible.playing import Ansible, Document
from tests.guests.classic import DISK_SIZE
from tests.online.inside import boot_id, sizes
from tests.online.machine import started, wake_copy

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_expand_online_grows_a_running_guest_that_is_named_by_its_image(
    ansible: Ansible, tmp_path: Path
) -> None:
    with started(wake_copy("scsi", tmp_path), disk="scsi", woken=True) as guest:
        first, size = boot_id(guest), f"{(DISK_SIZE + 10 * GiB) // GiB}G"
        inventory = ansible.inventory(guest.image)
        online: Document = {"growdisk.disk.expand_online": {"image": "{{ image }}", "size": size}}
        at_rest: Document = {
            "growdisk.disk.expand": {"image": "{{ image }}", "size": size},
            "ignore_errors": True,
        }

        planned = ansible.tasks(inventory, at_rest, online, words=("--check", "--diff"))
        assert [task.state for task in planned.tasks] == ["ignored", "changed"], planned.said
        refused = cast("Document", planned.only("expand").result["error"])
        assert (refused["code"] == 3 and "--online" in str(refused["do"])) or "--qmp" in str(
            refused["do"]
        )
        assert sizes(guest)["sda"] == DISK_SIZE

        played = ansible.tasks(inventory, online, online)
        assert (played.code, played.changed) == (0, [True, False]), played.said
        assert played.tasks[0].result["backend"] == "online"
        assert sizes(guest)["/"] > 12 * GiB
        assert boot_id(guest) == first

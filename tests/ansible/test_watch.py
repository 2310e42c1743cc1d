"""One round by rules, by the shipped playbook, on a hypervisor with its own images."""

from __future__ import annotations

from growdisk.units import MiB
from tests.ansible.playing import Ansible, Document
from tests.conftest import DiskMaker
from tests.e2e.judges import virtual_size
from tests.guests.small import SmallDisk

SMALL = SmallDisk(size=128 * MiB, swap_size=16 * MiB)


def test_the_hypervisors_full_disks_grow_and_one_that_is_broken_makes_it_fail(
    ansible: Ansible, small_disk: DiskMaker
) -> None:
    image = small_disk("full.qcow2", SMALL)
    rules = image.with_name("rules.yml")
    rules.write_text(
        f"rules: [{{images: {image}, when_used: 0.5%, step: 9G, max_size: 200M, keep_host_free: "
        f"0%, min_interval: 0s}}]"
    )
    task: Document = {"growdisk.disk.watch": {"rules": str(rules)}}
    inventory = ansible.inventory(image)

    (planned,) = ansible.tasks(inventory, task, words=("--check",)).of("watch", image.stem)
    assert (planned.state, virtual_size(image)) == ("changed", 128 * MiB)
    (done,) = ansible.tasks(inventory, task).of("watch", image.stem)
    assert (done.state, virtual_size(image)) == ("changed", 200 * MiB)
    (again,) = ansible.tasks(inventory, task).of("watch", image.stem)
    assert again.state == "ok"

    broken = image.with_name("broken.qcow2")
    broken.write_text("no image")
    rules.write_text(
        f"rules: [{{images: ['{image}', '{broken}'], when_used: 0.5%, step: 8M, keep_host_free: "
        f"0%, min_interval: 0s}}]"
    )
    played = ansible.tasks(inventory, task)
    (failed,) = played.of("watch", image.stem)
    assert (played.code, failed.state, failed.result["code"]) == (2, "failed", 3)
    assert virtual_size(image) == 208 * MiB

"""growdisk.disk.rewrite_partitions: its documentation; growdisk does the rest."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: rewrite_partitions
short_description: Give the free space of a disk to a partition
version_added: "0.1.0"
description:
  - The second step of M(growdisk.disk.expand) alone. What stands in the way is given up or moved, and the partition
    is made again, over all the space, from the same start.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.image
  - growdisk.disk.options.table
  - growdisk.disk.options.keys
  - growdisk.disk.options.way
  - growdisk.disk.options.writing
author:
  - growdisk
"""

EXAMPLES = r"""
- name: Delete 2 and 5, recreate 1 over the full disk
  growdisk.disk.rewrite_partitions:
    image: "{{ image }}"
    partition: 1
  register: table

- name: The guest forgets the swap that is gone
  growdisk.disk.repair_guest:
    image: "{{ image }}"
    system: /dev/sda1
    swaps: "{{ table.gone_swaps }}"
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
result:
  description: How it ended.
  returned: always
  type: str
  sample: changed
run:
  description: The name of the run, as C(growdisk status) has it; null where there was nothing to do.
  returned: always
  type: str
  sample: 20261125-201502-3f2a
backend:
  description: Who worked on the guest's file systems.
  returned: always
  type: str
  sample: direct
before:
  description: The disk as it was, with the keys of M(growdisk.disk.show).
  returned: always
  type: dict
after:
  description: The disk as it is; in check mode, as it would be.
  returned: always
  type: dict
steps:
  description: Each step's name, state, seconds, and what it did.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: resize-image, state: done, seconds: 0.1, detail: 3.0 GiB -> 13.0 GiB}
given_up:
  description: What gave way to the growth, in words.
  returned: always
  type: list
  elements: str
  sample: ["sda5 (swap, 512.0 MiB)"]
gone_swaps:
  description: The swap spaces that are no more, as M(growdisk.disk.repair_guest) takes them.
  returned: success
  type: list
  elements: dict
guest_systems:
  description: The file systems that the guest's own files are looked for in, its root first.
  returned: success
  type: list
  elements: str
moved_swaps:
  description: The swap spaces that have a new place, as M(growdisk.disk.remake_swap) takes them.
  returned: success
  type: list
  elements: dict
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
  sample:
    what: cannot grow partition 1 of web01.qcow2
    why: partition 3 (ext4) starts right after it
    do: growdisk expand web01.qcow2 +10G --move 3
    code: 3
"""

if __name__ == "__main__":
    carry_out("rewrite_partitions")

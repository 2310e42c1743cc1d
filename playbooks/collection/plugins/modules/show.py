"""growdisk.disk.show: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: show
short_description: What is on a disk
version_added: "0.1.0"
description:
  - Image, partition table, partitions, what is in them and how full, free space, and what blocks growth; C(msg) has
    it as text.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.machine
  - growdisk.disk.options.keys
  - growdisk.disk.options.looking
options:
  sector_size:
    description:
      - "The disk's logical sectors, which no image records: 512 or 4096."
    type: int
    default: 512
author:
  - growdisk
"""

EXAMPLES = r"""
- name: Look at the disk
  growdisk.disk.show:
    image: "{{ image }}"
  register: disk

- name: How full its partitions are
  ansible.builtin.debug:
    msg: "{{ disk.partitions | map(attribute='content') }}"
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
image:
  description: Path, format, virtual and actual size in bytes, snapshots, backing files.
  returned: success
  type: dict
  sample: {path: web01.qcow2, format: qcow2, virtual_size: 3221225472, actual_size: 578813952, snapshots: [], backing:
    []}
table:
  description: The partition table's type (mbr, gpt, or null) and id.
  returned: success
  type: dict
  sample: {type: mbr, id: "0x5ca1ab1e"}
partitions:
  description: Each partition's number, name, start, size, role, type, and what is in it, in bytes.
  returned: success
  type: list
  elements: dict
volumes:
  description: Logical volumes.
  returned: success
  type: list
free:
  description: The free ranges between and after the partitions, start and size in bytes.
  returned: success
  type: list
  elements: dict
blockers:
  description: What stands between the partition that would grow and the free space, and the options that would solve
    it.
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
"""

if __name__ == "__main__":
    carry_out("show")

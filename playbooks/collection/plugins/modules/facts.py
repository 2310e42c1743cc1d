"""growdisk.disk.facts: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: facts
short_description: What is on a disk, as facts
version_added: "0.1.0"
description:
  - The same as M(growdisk.disk.show), for the tasks after it, as C(growdisk_disk).
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
  growdisk.disk.facts:
    image: "{{ image }}"

- name: Grow it where it is smaller than twenty GiB
  growdisk.disk.expand:
    image: "{{ image }}"
    size: 20G
  when: growdisk_disk.image.virtual_size < 20 * 1024 ** 3
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
ansible_facts:
  description: The facts.
  returned: success
  type: dict
  contains:
    growdisk_disk:
      description: The disk, with the keys of M(growdisk.disk.show).
      returned: success
      type: dict
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
"""

if __name__ == "__main__":
    carry_out("facts")

"""growdisk.disk.repair_guest: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: repair_guest
short_description: Make a guest forget swap that is gone
version_added: "0.1.0"
description:
  - In fstab, RESUME, C(resume=) on kernel command lines, and the RESUME in each initrd, so that the next boot neither
    fails nor waits.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.image
  - growdisk.disk.options.place
  - growdisk.disk.options.keys
  - growdisk.disk.options.way
  - growdisk.disk.options.checked
options:
  system:
    description:
      - "The guest's root file system as the appliance names it: /dev/sda1, /dev/vg/root."
    type: str
    required: true
  swaps:
    description:
      - What rewrite_partitions returns as gone_swaps.
    type: list
    elements: dict
    required: true
  others:
    description:
      - Further file systems in which the guest's files may be as well.
    type: list
    elements: str
  swap:
    description:
      - What became of the first of them.
      - C(drop) gives its space to what grows, C(move) makes it again at the end of the disk, C(file) makes a swap
        file of the same size in the guest.
      - The guest is repaired, so that its next boot neither fails nor waits.
    type: str
    default: drop
    choices: [drop, file]
author:
  - growdisk
"""

EXAMPLES = r"""
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
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
"""

if __name__ == "__main__":
    carry_out("repair_guest")

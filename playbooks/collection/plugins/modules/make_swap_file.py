"""growdisk.disk.make_swap_file: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: make_swap_file
short_description: Make a swap file in a guest
version_added: "0.1.0"
description:
  - In the place of a swap partition that is gone.
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
  size:
    description:
      - How large, such as 1G.
      - The letters b k M G T P E are powers of 1024; C(10GB) and a bare number are refused.
      - C(+10G) grows in every run; with C(40G), or without a size, a second run changes nothing.
    type: str
    required: true
  uuid:
    description:
      - The UUID that the swap had.
    type: str
author:
  - growdisk
"""

EXAMPLES = r"""
- name: A swap file of one GiB
  growdisk.disk.make_swap_file:
    image: "{{ image }}"
    system: /dev/sda1
    size: 1G
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
    carry_out("make_swap_file")

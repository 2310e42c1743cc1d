"""growdisk.disk.resize_image: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: resize_image
short_description: Make a virtual disk larger, and nothing in it
version_added: "0.1.0"
description:
  - The first step of M(growdisk.disk.expand) alone.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.overlays
  - growdisk.disk.options.not_in_use
  - growdisk.disk.options.image
  - growdisk.disk.options.preallocation
  - growdisk.disk.options.writing
options:
  size:
    description:
      - "+10G grows by, 40G grows to."
      - The letters b k M G T P E are powers of 1024; C(10GB) and a bare number are refused.
      - C(+10G) grows in every run; with C(40G), or without a size, a second run changes nothing.
    type: str
    required: true
  snapshots:
    description:
      - How each step can be undone.
      - C(internal) is for qcow2 version 3, C(overlay) for raw and version 2; C(auto) chooses.
      - With C(none) there is no way back.
    type: str
    default: auto
    choices: [auto, internal, overlay, none]
author:
  - growdisk
"""

EXAMPLES = r"""
- name: The disk alone
  growdisk.disk.resize_image:
    image: "{{ image }}"
    size: 40G
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
    carry_out("resize_image")

"""growdisk.disk.assert: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: assert
short_description: Fail unless a disk is as it should be
version_added: "0.1.0"
description:
  - Whether each layer fills what is around it, how large it is, which partitions there are, whether the image is sound.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.image
  - growdisk.disk.options.place
  - growdisk.disk.options.keys
  - growdisk.disk.options.looking
options:
  filled:
    description:
      - Every layer fills what is around it.
    type: bool
    default: false
  sound:
    description:
      - The image has no errors and no leaked clusters.
    type: bool
    default: false
  size:
    description:
      - The virtual size, such as 13G.
      - The letters b k M G T P E are powers of 1024; C(10GB) and a bare number are refused.
      - C(+10G) grows in every run; with C(40G), or without a size, a second run changes nothing.
    type: str
  at_least:
    description:
      - The least virtual size.
    type: str
  present:
    description:
      - Numbers of partitions that must be there.
    type: list
    elements: int
  absent:
    description:
      - Numbers of partitions that must not be there.
    type: list
    elements: int
  filesystem_at_least:
    description:
      - The least size of the file system in the partition.
    type: str
author:
  - growdisk
"""

EXAMPLES = r"""
- name: Grown through all layers, and the old swap is gone
  growdisk.disk.assert:
    image: "{{ image }}"
    at_least: 13G
    filled: true
    sound: true
    present: [1]
    absent: [2, 5]
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
"""

if __name__ == "__main__":
    carry_out("assert")

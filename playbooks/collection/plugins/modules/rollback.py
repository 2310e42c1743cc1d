"""growdisk.disk.rollback: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: rollback
short_description: Take a kept or unfinished run of growdisk back
version_added: "0.1.0"
description:
  - Undoes the run that is recorded beside an image, newest step first.
  - Where there is nothing to undo, nothing is changed.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.overlays
  - growdisk.disk.options.not_in_use
  - growdisk.disk.options.writing
options:
  image:
    description:
      - The image file.
    type: path
    required: true
  to:
    description:
      - Undo this step, such as grow-filesystem, and all after it; all if left out.
    type: str
author:
  - growdisk
"""

EXAMPLES = r"""
- name: All the way back
  growdisk.disk.rollback:
    image: "{{ image }}"

- name: Only the file system
  growdisk.disk.rollback:
    image: "{{ image }}"
    to: grow-filesystem
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
result:
  description: How it ended.
  returned: when there was a run
  type: str
  sample: changed
run:
  description: The name of the run, as C(growdisk status) has it; null where there was nothing to do.
  returned: when there was a run
  type: str
  sample: 20261125-201502-3f2a
backend:
  description: Who worked on the guest's file systems.
  returned: when there was a run
  type: str
  sample: direct
before:
  description: The disk as it was, with the keys of M(growdisk.disk.show).
  returned: when there was a run
  type: dict
after:
  description: The disk as it is; in check mode, as it would be.
  returned: when there was a run
  type: dict
steps:
  description: Each step's name, state, seconds, and what it did.
  returned: when there was a run
  type: list
  elements: dict
  sample:
    - {name: resize-image, state: done, seconds: 0.1, detail: 3.0 GiB -> 13.0 GiB}
given_up:
  description: What gave way to the growth, in words.
  returned: when there was a run
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
    carry_out("rollback")

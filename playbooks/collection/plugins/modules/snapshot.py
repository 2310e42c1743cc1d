"""growdisk.disk.snapshot: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: snapshot
short_description: Internal snapshots of a qcow2 image
version_added: "0.1.0"
description:
  - Creates, goes back to, or deletes one, by its name.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.overlays
  - growdisk.disk.options.checked
options:
  image:
    description:
      - The image file.
    type: path
    required: true
  name:
    description:
      - The snapshot's name.
    type: str
    required: true
  state:
    description:
      - present creates it, applied goes back to it, absent deletes it.
    type: str
    default: present
    choices: [present, applied, absent]
author:
  - growdisk
"""

EXAMPLES = r"""
- name: Before the upgrade
  growdisk.disk.snapshot:
    image: "{{ image }}"
    name: before-upgrade

- name: Back to it
  growdisk.disk.snapshot:
    image: "{{ image }}"
    name: before-upgrade
    state: applied

- name: It is not needed any more
  growdisk.disk.snapshot:
    image: "{{ image }}"
    name: before-upgrade
    state: absent
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
snapshot:
  description: The snapshot's name.
  returned: success
  type: str
state:
  description: What was asked.
  returned: success
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
    carry_out("snapshot")

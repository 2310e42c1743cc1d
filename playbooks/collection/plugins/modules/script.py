"""growdisk.disk.script: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: script
short_description: The scripts that grow a disk from inside its running guest
version_added: "0.1.0"
description:
  - Written to a folder, with a README of what to run when, to be carried over by hand. Nothing else is touched, and
    the image may be in use.
  - A folder that has them already is left as it is.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.machine
  - growdisk.disk.options.size
  - growdisk.disk.options.table
  - growdisk.disk.options.checked
options:
  dest:
    description:
      - A new or empty folder.
    type: path
    required: true
author:
  - growdisk
"""

EXAMPLES = r"""
- name: Scripts for a guest that only its owner may enter
  growdisk.disk.script:
    image: /srv/images/web01.qcow2
    size: +10G
    dest: /srv/handover/web01
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
result:
  description: How it ended.
  returned: when they were not there before
  type: str
  sample: written
folder:
  description: Where they are.
  returned: when they are written
  type: str
files:
  description: Their names.
  returned: when they are written now
  type: list
  elements: str
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
"""

if __name__ == "__main__":
    carry_out("script")

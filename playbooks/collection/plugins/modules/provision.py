"""growdisk.disk.provision: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: provision
short_description: A ready image out of a base image, before its first boot
version_added: "0.1.0"
description:
  - The base is only read, and may be shared. The new image is grown with all its layers, and appears whole or not at
    all.
  - One that is there already is left as it is.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.checked
options:
  base:
    description:
      - The base image, which is only read.
    type: path
    required: true
  dest:
    description:
      - The new image; one that exists is left as it is, unless force.
    type: path
    required: true
  size:
    description:
      - 40G grows to, +10G by; the new image is as large as the base if left out.
      - The letters b k M G T P E are powers of 1024; C(10GB) and a bare number are refused.
      - C(+10G) grows in every run; with C(40G), or without a size, a second run changes nothing.
    type: str
  force:
    description:
      - Replace an existing image.
    type: bool
    default: false
  overlay:
    description:
      - Make an overlay of the base, which must stay as it is; quick and small.
    type: bool
    default: false
  format:
    description:
      - The format of the new image; by its name (.qcow2, .raw) if left out, else the base's.
      - A probe never takes an image for raw because its header is damaged.
    type: str
    choices: [qcow2, raw]
  hostname:
    description:
      - The guest's name.
    type: str
  recipe:
    description:
      - A recipe file, in YAML; other options win over it.
    type: path
author:
  - growdisk
"""

EXAMPLES = r"""
- name: A new guest of forty GiB
  growdisk.disk.provision:
    base: /srv/images/debian-12.qcow2
    dest: /srv/images/web03.qcow2
    size: 40G
    hostname: web03
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
    carry_out("provision")

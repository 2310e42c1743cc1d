"""growdisk.disk.image: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: image
short_description: Have an image as it should be
version_added: "0.1.0"
description:
  - There, and as large as asked; without errors and leaks; or without unused clusters.
  - The virtual size alone grows here, not what is inside. M(growdisk.disk.expand) does the whole job.
  - Nothing is ever made smaller.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.overlays
  - growdisk.disk.options.image
  - growdisk.disk.options.preallocation
  - growdisk.disk.options.checked
options:
  state:
    description:
      - present creates or enlarges it, sound repairs it, compacted gives unused clusters back.
    type: str
    default: present
    choices: [present, sound, compacted]
  size:
    description:
      - 40G for a new image; an existing one grows to it, or by +10G.
      - The letters b k M G T P E are powers of 1024; C(10GB) and a bare number are refused.
      - C(+10G) grows in every run; with C(40G), or without a size, a second run changes nothing.
    type: str
  backing:
    description:
      - The backing file of a new image.
    type: path
  backing_format:
    description:
      - The format of the backing file; probed if left out.
    type: str
    choices: [qcow2, raw]
  options:
    description:
      - Options of a new image, named as qemu-img names them.
    type: dict
author:
  - growdisk
"""

EXAMPLES = r"""
- name: An empty disk for data
  growdisk.disk.image:
    image: /srv/images/data.qcow2
    size: 40G

- name: An overlay on a base image
  growdisk.disk.image:
    image: /srv/images/web02.qcow2
    backing: base.qcow2
    backing_format: qcow2

- name: No errors, no leaked clusters
  growdisk.disk.image:
    image: /srv/images/web01.qcow2
    state: sound

- name: Unused clusters go back to the host
  growdisk.disk.image:
    image: /srv/images/web01.qcow2
    state: compacted
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
filename:
  description: The image. It comes with the other keys of C(qemu-img info --output=json).
  returned: when it is present
  type: str
format:
  description: Its format.
  returned: when it is present
  type: str
  sample: qcow2
virtual-size:
  description: Its virtual size in bytes.
  returned: when it is present
  type: int
actual-size:
  description: What it takes on the host, in bytes.
  returned: when it is present
  type: int
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
"""

if __name__ == "__main__":
    carry_out("image")

"""growdisk.disk.convert: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: convert
short_description: An image in another format or shape
version_added: "0.1.0"
description:
  - Writes what a guest sees of an image to a new one, which appears whole or not at all. What is not used takes no
    space.
  - A new image that is there already, of the right format and size, is left as it is.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.image
  - growdisk.disk.options.checked
options:
  dest:
    description:
      - The new image; one of this format and size is left as it is.
    type: path
    required: true
  to:
    description:
      - The new format; by the name of the new image if left out.
    type: str
    choices: [qcow2, raw]
  compress:
    description:
      - Compress the clusters of a qcow2 image.
    type: bool
    default: false
  compression:
    description:
      - How to compress.
    type: str
    choices: [zlib, zstd]
  options:
    description:
      - Options of a new image, named as qemu-img names them.
    type: dict
  snapshot:
    description:
      - Convert this internal snapshot instead, at its own size.
    type: str
  keep_snapshots:
    description:
      - Take the internal snapshots along.
    type: bool
    default: false
author:
  - growdisk
"""

EXAMPLES = r"""
- name: A raw image as qcow2
  growdisk.disk.convert:
    image: /srv/images/web01.raw
    dest: /srv/images/web01.qcow2

- name: Small, to be carried away
  growdisk.disk.convert:
    image: /srv/images/web01.qcow2
    dest: /srv/backup/web01.qcow2
    compression: zstd
    options:
      cluster_size: 128k
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
filename:
  description: The image. It comes with the other keys of C(qemu-img info --output=json).
  returned: success
  type: str
format:
  description: Its format.
  returned: success
  type: str
  sample: qcow2
virtual-size:
  description: Its virtual size in bytes.
  returned: success
  type: int
actual-size:
  description: What it takes on the host, in bytes.
  returned: success
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
    carry_out("convert")

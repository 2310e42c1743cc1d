"""growdisk.disk.expand: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: expand
short_description: "Grow a virtual machine's disk: image, partition and file system"
version_added: "0.1.0"
description:
  - Makes the virtual disk larger, gives the new space to a partition, and lets what stands in it grow, through LUKS
    and LVM to the file system.
  - There is a snapshot before each step. What fails is taken back, and the guest is as it was.
  - Every layer grows into the unused space around it, so that the next run finishes one that was cut short.
  - A guest that is off is grown as it lies. One that runs is grown where I(domain), I(qmp) or I(ssh) says so; else
    its image is refused as in use.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.machine
  - growdisk.disk.options.size
  - growdisk.disk.options.rule
  - growdisk.disk.options.table
  - growdisk.disk.options.volumes
  - growdisk.disk.options.keys
  - growdisk.disk.options.preallocation
  - growdisk.disk.options.way
  - growdisk.disk.options.keep
  - growdisk.disk.options.writing
author:
  - growdisk
"""

EXAMPLES = r"""
- name: Ten GiB more
  growdisk.disk.expand:
    image: /srv/images/web01.qcow2
    size: +10G

- name: Forty GiB, and the swap after the root file system becomes a file
  growdisk.disk.expand:
    image: /srv/images/web01.qcow2
    size: 40G
    swap: file

- name: Grow a machine of libvirt, whether it runs or not
  growdisk.disk.expand:
    domain: web01
    size: +10G

- name: Show what would be done (with --check --diff), and keep a way back
  growdisk.disk.expand:
    image: "{{ image }}"
    size: "{{ size }}"
    keep_snapshots: true
  register: grown

- name: Twenty GiB more where it is fuller than 85%, up to 200 GiB, and only if the host keeps a tenth free
  growdisk.disk.expand:
    domain: web01
    size: +20G
    when_used: 85%
    max_size: 200G
    keep_host_free: 10%

- name: Grow into unused space, and nothing else
  growdisk.disk.expand:
    image: "{{ image }}"
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
  sample:
    what: cannot grow partition 1 of web01.qcow2
    why: partition 3 (ext4) starts right after it
    do: growdisk expand web01.qcow2 +10G --move 3
    code: 3
"""

if __name__ == "__main__":
    carry_out("expand")

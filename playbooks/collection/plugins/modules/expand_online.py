"""growdisk.disk.expand_online: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: expand_online
short_description: Grow the disk of a virtual machine while it runs
version_added: "0.1.0"
description:
  - As M(growdisk.disk.expand), but where only its image is named, the running guest that has it open is looked for.
  - QEMU makes the disk larger; scripts in the guest, by its agent or ssh, do the rest. The guest is not restarted,
    unless I(allow_reboot) lets it be.
  - A guest that is off is grown as it lies.
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
- name: Grow the guest that has this image open
  growdisk.disk.expand_online:
    image: /srv/images/web01.qcow2
    size: +10G

- name: By its monitor, and by ssh inside
  growdisk.disk.expand_online:
    qmp: /run/web01.qmp
    ssh: root@web01
    size: 40G

- name: A machine of libvirt
  growdisk.disk.expand_online:
    domain: web01
    disk: vda
    size: +10G
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
    carry_out("expand_online")

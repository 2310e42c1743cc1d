"""growdisk.disk.watch: its documentation; growdisk declares its options and does it."""

from __future__ import annotations

from ansible_collections.growdisk.disk.plugins.module_utils.task import carry_out

DOCUMENTATION = r"""
module: watch
short_description: Grow, by rules, the disks of a host that are nearly full
version_added: "0.1.0"
description:
  - One round on the hypervisor that the task runs on, over the images and the machines of libvirt that the rules name.
  - What is fuller than its rule allows grows by a step, never beyond its largest size, and never so that the host
    fills up. In check mode it is only said what would grow.
  - One disk never stops the others. The task fails if any of them could not be dealt with.
requirements:
  - growdisk, in the interpreter of the module (C(ansible_python_interpreter))
extends_documentation_fragment:
  - growdisk.disk.options.checked
options:
  rules:
    description:
      - "The rules file: which disks grow, when, by what and how far."
      - It lies on the host that is watched.
    type: path
    required: true
  connect:
    description:
      - The URI of libvirt; what the rules say if left out.
    type: str
  metrics:
    description:
      - Where metrics for Prometheus' textfile collector are written.
    type: path
author:
  - growdisk
"""

EXAMPLES = r"""
- name: One round by the rules of this hypervisor
  growdisk.disk.watch:
    rules: /etc/growdisk/watch.yml
    metrics: /var/lib/prometheus/node-exporter/growdisk.prom
"""

RETURN = r"""
msg:
  description: One line on how it ended. Of an error, what happened, why, and what to do.
  returned: always
  type: str
code:
  description: The worst exit code of its disks.
  returned: when the round was made
  type: int
disks:
  description: Each disk that a rule is for, with its result, and in words what was done or why not.
  returned: when the round was made
  type: list
  elements: dict
  sample:
    - {name: web01, fullness: 91.2, result: grown, code: 0, detail: 40.0 GiB -> 48.0 GiB}
seconds:
  description: How long it took.
  returned: when the round was made
  type: float
dry_run:
  description: Whether nothing was done.
  returned: when the round was made
  type: bool
error:
  description:
    - An error in pieces, C(what), C(why), C(do) and C(code).
    - C(code) is 2 where the options cannot be meant, 3 where it was refused and nothing is touched, 4 where it failed
      and everything is back as it was, 5 where it needs you.
  returned: failure
  type: dict
  sample:
    what: db01 could not be dealt with
    why: "db01.qcow2 does not grow: the host would fill up"
    do: the others are done; growdisk list says how each disk stands
    code: 3
"""

if __name__ == "__main__":
    carry_out("watch")

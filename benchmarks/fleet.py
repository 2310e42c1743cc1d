"""Many guests in one call of `growdisk run`: the time per guest, alone and two at once.

The guests are overlays on the classic guest, as a fleet's often are: a hundred whole copies would
be 50 GB.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.guests import NAME, base_image, settle
from benchmarks.measure import GROWDISK, Sample, figure, seconds, take

PLAYBOOK = """\
- name: More room for all of them
  hosts: "{folder}/*.qcow2"
  gather_facts: false
  tasks:
    - name: Grow image, partition and file system
      growdisk.disk.expand:
        image: "{{{{ image }}}}"
        size: +10G
"""
FLEETS = ((10, 1), (10, 2), (100, 1), (100, 2))  # guests, jobs


def compare(repeats: int) -> dict[str, Any]:
    """A hundred guests are taken once: they are a hundred samples in themselves."""
    found: dict[str, Any] = {}
    for count, jobs in FLEETS:
        taken = [_fleet(count, jobs) for _ in range(1 if count > 10 else min(repeats, 3))]
        found[f"{count} guests, -j {jobs}"] = {"guests": count, "jobs": jobs, **figure(taken)}
    return {"guest": NAME, "fleets": found}


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"| `growdisk run`, overlays on {result['guest']}, +10G | whole call | per guest |"
    yield "|---|---|---|"
    for name, fig in result["fleets"].items():
        yield f"| {name} | {seconds(fig)} | {fig['wall'] / fig['guests']:.2f} s |"


def _fleet(count: int, jobs: int) -> Sample:
    base = base_image()
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as folder:
        guests = [Path(folder) / f"guest{number:03}.qcow2" for number in range(count)]
        for guest in guests:
            subprocess.run(
                ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", guest],
                check=True,
            )
        playbook = Path(folder) / "play.yaml"
        playbook.write_text(PLAYBOOK.format(folder=folder))
        settle()
        sample = take([GROWDISK, "-q", "run", playbook, "-j", str(jobs)])
        grown = [_virtual_size(guest) for guest in guests]
        assert set(grown) == {13 << 30}, grown
    return sample


def _virtual_size(image: Path) -> int:
    done = subprocess.run(
        ["qemu-img", "info", "--output=json", image], check=True, capture_output=True, text=True
    )
    return int(json.loads(done.stdout)["virtual-size"])

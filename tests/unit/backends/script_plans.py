"""Plans from which guest-side scripts are made, and shells that run them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from growdisk.errors import Refused
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestLayer, GuestPlan, Phase
from growdisk.planner.guest_plan import guest_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from tests.golden.situations import read

PLANS = Path(__file__).parents[2] / "golden" / "plans"


def planned(name: str) -> GuestPlan:
    situation = read(PLANS / f"{name}.json")
    proposal = propose(situation.facts, situation.asked.goal())
    assert isinstance(proposal, Proposal), proposal
    return guest_plan("run-1", situation.facts, proposal.steps)


def part_of(script: str, start: str, end: str) -> str:
    """The lines of a script from one heading to another."""
    assert start in script and end in script
    return start + script.partition(start)[2].partition(end)[0]


def guest_plans() -> Iterator[ParameterSet]:
    """Each layout and swap policy with which a running guest can grow.

    Most are for the long matrix.
    """
    for file in sorted(PLANS.glob("*.json")):
        try:
            planned(file.stem)
        except (Refused, AssertionError):
            continue
        quick = file.stem in ("two-swaps-file", "classic-move", "gpt-swap-behind-drop", "no-swap")
        yield pytest.param(file.stem, marks=() if quick else pytest.mark.slow)


LAYERS = (
    GuestLayer("luks", "0f" * 16, "LUKS in sda5", 1 << 30),
    GuestLayer("pv", "", "vg0", extents=255),
    GuestLayer("lv", "aB3" * 21, "vg0/root", 1 << 29, 128),
)  # fmt: skip


def locking(folder: Path, *, has_flock: bool) -> str:
    """How each script begins, with its files below `folder`."""
    if os.geteuid() != 0:
        pytest.skip("the scripts want root")
    base = part_of(
        render(planned("classic-drop"))[Phase.INSPECT.file_name], "set -eu", "# -- The disk"
    )
    for place in ("/var/log", "/var/lib", "/run"):
        base = base.replace(f"{place}/growdisk", f"{folder}{place}/growdisk")
        (folder / place[1:]).mkdir(parents=True)
    return base if has_flock else base.replace("have flock", "have no-such-program")

"""Renders the guest-side scripts of a plan from templates/*.sh.j2: the only user of jinja2.

For the host side: `render(plan)` gives file name → text of every phase (guest_plan.Phase.file_name) and of the driver
(guest_plan.DRIVER). Send a phase's text to `sh -s` as root in the guest, then `guest_answers.parse_answer(...)` its
stdout. Only what is in the plan becomes part of a script, through one quoting filter; callers have nothing to quote.
"""

from __future__ import annotations

from collections.abc import Mapping

from growdisk.backends.guest_plan import DRIVER, GuestPlan, Phase


def render(plan: GuestPlan) -> Mapping[str, str]:
    """All scripts of `plan` by file name: one for each phase, and the driver."""
    raise NotImplementedError


__all__ = ["DRIVER", "GuestPlan", "Phase", "render"]

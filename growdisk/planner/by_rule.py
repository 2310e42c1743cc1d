"""Growing by rule: only if the file system is fuller than a limit, and up to a largest size.

Pure: what the host knows (when the disk last grew, how much space there is) is passed in.
"""

from __future__ import annotations

from growdisk.errors import Refused
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import Content
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, Rule
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.planner.what_grows import choose_shares
from growdisk.units import SizeSpec, format_size, whole_percent

_TIMES = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def proposed_by_rule(
    rule: Rule, facts: Facts, goal: Goal, propose: PlanFunction
) -> Proposal | GoalReached:
    """What `propose` proposes, if the rule wants growth.

    Raises fullness-unknown, and what `propose` raises. What prevents growth matters only for a disk
    that is to grow.
    """
    # 1. Time and largest size: these need no plan.
    goal, idle = _within_bounds(rule, facts, goal)
    if idle:
        return GoalReached(idle)
    try:
        # 2. What would grow: only a plan knows that.
        proposal = propose(facts, goal)
    except Refused as error:
        # What prevents growth does not matter as long as the disk is not full.
        if (reason := _not_full(rule, facts, _wanted(facts, goal, error))) is not None:
            return GoalReached(reason)
        raise
    if isinstance(proposal, GoalReached):
        return proposal
    # 3. Is that full enough? If only the table grows, everything on the disk is asked.
    reason = _not_full(rule, facts, _growing(facts, proposal) or facts.leaves)
    return proposal if reason is None else GoalReached(reason)


def _within_bounds(rule: Rule, facts: Facts, goal: Goal) -> tuple[Goal, str]:
    """The goal, no larger than the largest size; and why there is nothing to do."""
    current = facts.image.virtual_size
    if (
        rule.min_interval is not None
        and rule.since_growth is not None
        and rule.since_growth < rule.min_interval
    ):
        grew, waits = _time(rule.since_growth), _time(rule.min_interval)
        return goal, f"it grew {grew} ago, and is left alone for {waits}"
    if rule.max_size is None or goal.size is None:
        return goal, ""
    if current >= rule.max_size:
        sizes = f"{format_size(current)} of {format_size(rule.max_size)}"
        return goal, f"it has its largest size already, {sizes}"
    # The last growth before the largest size is cut down to it.
    wanted = min(goal.size.resolve(current), rule.max_size)
    return replace(goal, size=SizeSpec(wanted, relative=False)), ""


def _not_full(rule: Rule, facts: Facts, growing: dict[str, Content]) -> str | None:
    """Why the rule leaves it as it is; None if it has to grow. fullness-unknown."""
    if rule.when_used is None:
        return None
    known = {name: one.fullness for name, one in growing.items() if one.fullness is not None}
    if not known:
        found = [f"{content.kind} in {name}" for name, content in growing.items()]
        kinds = ", ".join(found) or "nothing recognised"
        raise Refused.named(
            "fullness-unknown",
            "cannot know how full {path} is",
            "{reason}",
            "leave out --when-used to grow it all the same",
            {"path": facts.image.path, "reason": f"no superblock tells it ({kinds})"},
        )
    # One that is full enough suffices: the fullest decides.
    name = max(known, key=lambda each: known[each])
    if known[name] > rule.when_used:
        return None
    return (
        f"{name} is {whole_percent(known[name])} % full, and grows above {100 * rule.when_used:g} %"
    )


def _growing(facts: Facts, proposal: Proposal) -> dict[str, Content]:
    before, after = facts.leaves, proposal.after.leaves
    return {
        name: was
        for name, was in before.items()
        if name in after and (after[name].size or 0) > (was.size or 0)
    }


def _wanted(facts: Facts, goal: Goal, error: Refused) -> dict[str, Content]:
    """What would have grown, had it not been refused with `error`."""
    if facts.table is None:
        return facts.leaves
    try:
        _table, shares = choose_shares(facts, goal)
    except Refused:
        # What would have grown is not known either: the first refusal is the one to show.
        raise error from None
    return {name: inner for number in shares for name, inner in facts.leaves_of(number)}


def _time(seconds: float) -> str:
    letter, unit = next((longest for longest in _TIMES if seconds >= longest[1]), _TIMES[-1])
    return f"{seconds / unit:.3g} {letter}"

"""A step that a running guest takes itself: swap again, and its own files.

One phase of its scripts does it all. Where nothing is left to do, that phase finds out; what it
did, the guest reads back after the last step.
"""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.answers import ScriptOutcome
from growdisk.guest_scripts.script_plan import Phase
from growdisk.steps.live_worker import LiveWorker
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.workflow.step import Check, Evidence, Ready, Scope

GUEST_ONLY = (RemakeSwap, MakeSwapFile, RepairGuest)


@dataclass(frozen=True)
class InGuest:
    """`step` as planned, carried out inside."""

    step: RemakeSwap | MakeSwapFile | RepairGuest

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def touches(self) -> frozenset[Scope]:
        return self.step.touches

    def describe(self) -> str:
        return self.step.describe()

    def check(self, context: LiveWorker) -> Check:
        # The script finds out itself whether anything is left to do, and answers ALREADY then.
        return Ready()

    def apply(self, context: LiveWorker) -> Evidence:
        answer = context.run(Phase.REPAIR)
        if answer.result is ScriptOutcome.ALREADY and isinstance(self.step, RepairGuest):
            return Evidence("done already")
        return Evidence(answer.what or self.describe())

    def verify(self, context: LiveWorker, evidence: Evidence) -> None:
        context.conclude(self.name)

"""How provisioning ended, output by output, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from growdisk.api.result import StepReport
from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass
from growdisk.planner.layout import Layout

ProvisionOutcome = Literal["created", "planned", "failed"]


@dataclass(frozen=True)
class Provisioned:
    """One output. `growpart` is what cloud-init's growpart would find to do at the first boot: "nothing", one hopes.

    `steps` are those of growing; `layout` is the finished disk (planned: as it would be).

    With an `error` there is nothing at `path`, or what was there before.
    """

    path: Path
    result: ProvisionOutcome
    layout: Layout | None = None
    actual_size: int = 0
    backend: str | None = None
    steps: tuple[StepReport, ...] = ()
    given_up: tuple[str, ...] = ()
    customized: tuple[str, ...] = ()
    seed: Path | None = None
    growpart: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    error: GrowdiskError | None = None


@dataclass(frozen=True)
class ProvisionReport:
    """All outputs, in the order in which they were asked for."""

    base: Path
    outputs: tuple[Provisioned, ...]

    @property
    def failed(self) -> tuple[Provisioned, ...]:
        return tuple(output for output in self.outputs if output.error is not None)

    @property
    def changed(self) -> bool:
        return any(output.result == "created" for output in self.outputs)

    @property
    def exit_code(self) -> int:
        """That of the worst output."""
        return max((output.error.exit_code for output in self.outputs if output.error), default=0)

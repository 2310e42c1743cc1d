"""How provisioning ended, output by output, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from growdisk.api.result import StepReport
from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, OperationFailed, Refused
from growdisk.fast_dataclass import asdict, dataclass
from growdisk.planner.layout import Layout

ProvisionOutcome = Literal["created", "planned", "failed"]


@dataclass(frozen=True)
class Provisioned:
    """One output.

    `growpart` is what cloud-init's growpart would find to do at the first boot: "nothing", one
    hopes.

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


# Why an image cannot be provisioned. Nothing is left of an output that failed.


def not_provisioned(path: Path, reason: str, hint: str) -> Refused:
    """Before anything was made."""
    return Refused.because("not-provisioned", "cannot provision {path}", reason, hint, path=path)


def output_exists(path: Path) -> Refused:
    hint = "choose another name, or say --force to put the new image in its place"
    return Refused.because(
        "output-exists", "cannot provision {path}", "it exists already", hint, path=path
    )


def provisioning_failed(path: Path, reason: str, hint: str) -> OperationFailed:
    """Something went wrong while it was made."""
    return OperationFailed.named(
        "provisioning-failed",
        "cannot provision {path}; nothing was left of it",
        "{reason}",
        "{hint}",
        {"path": path, "reason": reason, "hint": hint},
    )


# What --json shows of provisioned images: for the command line and for the tasks of playbooks.


def provision_document(report: ProvisionReport) -> dict[str, object]:
    """All outputs; on top how it ended, and the worst error."""
    failed, count = report.failed, len(report.outputs)
    word: str = "partly" if failed else report.outputs[0].result
    if len(failed) == count:
        word = "refused" if all(isinstance(made.error, Refused) for made in failed) else "failed"
    content: dict[str, object] = {
        "result": word,
        "base": str(report.base),
        "outputs": [_output(made) for made in report.outputs],
    }
    worst = next(
        (made.error for made in failed if made.error and made.error.exit_code == report.exit_code),
        None,
    )
    if worst is not None:
        content["error"] = error_document(worst)
    return content


def _output(made: Provisioned) -> dict[str, object]:
    layout = made.layout
    content: dict[str, object] = {
        "path": str(made.path),
        "result": made.result,
        "seconds": round(made.seconds, 3),
        "backend": made.backend,
        "format": layout.image.format if layout else None,
        "virtual_size": layout.image.virtual_size if layout else None,
        "actual_size": made.actual_size,
        "steps": [asdict(step) for step in made.steps],
        "given_up": list(made.given_up),
        "customized": list(made.customized),
        "seed": str(made.seed) if made.seed else None,
        "growpart": made.growpart or None,
        "notes": list(made.notes),
        "layout": asdict(layout) if layout else None,
    }
    if made.error is not None:
        content["error"] = error_document(made.error)
    return content

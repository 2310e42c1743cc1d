"""What --json shows of provisioned images: for the command line and for the tasks of playbooks."""

from __future__ import annotations

from dataclasses import asdict

from growdisk.api.provisioning.result import Provisioned, ProvisionReport
from growdisk.errors import Refused, error_document


def provision_document(report: ProvisionReport) -> dict[str, object]:
    """All outputs; on top how it ended, and the worst error."""
    failed, count = report.failed, len(report.outputs)
    word: str = "partly" if failed else report.outputs[0].result
    if len(failed) == count:
        word = "refused" if all(isinstance(made.error, Refused) for made in failed) else "failed"
    content: dict[str, object] = {
        "result": word, "base": str(report.base), "outputs": [_output(made) for made in report.outputs]
    }  # fmt: skip
    worst = next((made.error for made in failed if made.error and made.error.exit_code == report.exit_code), None)
    if worst is not None:
        content["error"] = error_document(worst)
    return content


def _output(made: Provisioned) -> dict[str, object]:
    layout = made.layout
    content: dict[str, object] = {
        "path": str(made.path), "result": made.result, "seconds": round(made.seconds, 3), "backend": made.backend,
        "format": layout.image.format if layout else None,
        "virtual_size": layout.image.virtual_size if layout else None, "actual_size": made.actual_size,
        "steps": [asdict(step) for step in made.steps], "given_up": list(made.given_up),
        "customized": list(made.customized), "seed": str(made.seed) if made.seed else None,
        "growpart": made.growpart or None, "notes": list(made.notes), "layout": asdict(layout) if layout else None,
    }  # fmt: skip
    if made.error is not None:
        content["error"] = error_document(made.error)
    return content

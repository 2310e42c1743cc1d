"""growdisk doctor: what this machine has, what really works, and what to install."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from growdisk.cli.output import Output

if TYPE_CHECKING:
    from growdisk.backends.machine import Finding

NAME = "doctor"
HELP = "say what works on this machine and what to install"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="do not launch the appliance")


def run(arguments: argparse.Namespace, output: Output) -> int:
    from growdisk.backends.machine import examine

    findings = []
    for finding in examine(launch_appliance=not arguments.quick):
        findings.append(finding)
        output.lines(_lines(finding))
    lacking = [finding.name for finding in findings if finding.needed and not finding.ok]
    output.document({"ok": not lacking, "findings": [asdict(finding) for finding in findings]})
    output.lines([f"not ready: {', '.join(lacking)}" if lacking else "growdisk can work on this machine"])
    return 3 if lacking else 0


def _lines(finding: Finding) -> list[str]:
    word = "ok" if finding.ok else ("missing" if finding.needed else "no")
    lines = [f"  {word:<8} {finding.name:<20} {finding.detail}"]
    if finding.cure and not finding.ok:
        lines.append(f"  {'':<8} {'':<20} {'do: ' if finding.needed else ''}{finding.cure}")
    return lines

"""growdisk doctor: what this machine has, what can be grown on it, and what to install."""

from __future__ import annotations

import argparse

from growdisk.backends.available import has_appliance
from growdisk.backends.doctor import MAIN, Capability, MachineCheck, capabilities, run_checks
from growdisk.cli.common_options import add_flag
from growdisk.cli.config import configured
from growdisk.cli.output import CommandOutput
from growdisk.fast_dataclass import asdict

_BACKENDS = {"direct backend": "direct", "user-mode kernel": "uml", "appliance": "guestfs"}


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    add_flag(parser, "--quick", "do not launch the appliance")


def run_doctor(arguments: argparse.Namespace, output: CommandOutput) -> int:
    """Exit code 0 if the main job can be done here by any backend, else 3."""
    findings = []
    # Said as they are found: to launch the appliance takes ten seconds or more.
    for finding in run_checks(launch_appliance=not arguments.quick):
        findings.append(finding)
        output.lines(_lines(finding))
    # What was tried counts. With --quick the appliance is not tried: then "installed" is enough.
    works = {"guestfs": has_appliance()} | {
        _BACKENDS[found.name]: found.ok for found in findings if found.name in _BACKENDS
    }
    grows = list(capabilities(works))
    ready = next(capability.ok for capability in grows if capability.what == MAIN)
    defaults = [(key, str(value), str(file)) for key, (value, file) in configured().items()]
    output.document(
        {
            "ok": ready,
            "findings": [asdict(finding) for finding in findings],
            "grows": [asdict(can) for can in grows],
            "config": [{"key": key, "value": value, "file": file} for key, value, file in defaults],
        }
    )
    output.lines(["", "what can be grown here:", *map(_row, grows)])
    if defaults:
        output.lines(["", "this site's defaults:"])
        output.lines(f"  {key} = {value}  ({file})" for key, value, file in defaults)
    output.lines(
        ["", "ready: growdisk can grow disks on this machine" if ready else "not ready: see above"]
    )
    return 0 if ready else 3


def _row(can: Capability) -> str:
    if can.ok:
        return f"  yes  {can.what:<30} {can.by}".rstrip()
    if not can.missing:
        return f"  no   {can.what:<30} {can.reason or 'no backend for it works here: see above'}"
    fedora = "" if can.fedora == can.missing else f" (Fedora: {', '.join(can.fedora)})"
    return f"  no   {can.what:<30} apt install {' '.join(can.missing)}{fedora}"


def _lines(finding: MachineCheck) -> list[str]:
    word = "ok" if finding.ok else "no"
    lines = [f"  {word:<4} {finding.name:<20} {finding.detail}"]
    if finding.cure and not finding.ok:
        lines.append(f"  {'':<4} {'':<20} {finding.cure}")
    return lines

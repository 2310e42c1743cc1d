"""What other programs call: inspect, plan, expand, status, resume, rollback, commit.

Refusals (nothing touched) are raised as GrowdiskError; once a run has begun, its Result says how it ended. Importing
this costs milliseconds; libguestfs and libparted are loaded when a run needs them.
"""

from growdisk.api.disks import inspect, plan
from growdisk.api.result import Result, StepReport
from growdisk.api.runs import commit, expand, resume, rollback
from growdisk.api.status import StatusReport, status

__all__ = [
    "Result",
    "StatusReport",
    "StepReport",
    "commit",
    "expand",
    "inspect",
    "plan",
    "resume",
    "rollback",
    "status",
]

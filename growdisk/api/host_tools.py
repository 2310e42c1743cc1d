"""The planner's questions about this machine (planner/backend_choice.py), answered by looking.

What tries something out is loaded when it is asked.
"""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import PACKAGES, is_here


@dataclass(frozen=True)
class FoundTools:
    """Implements HostTools. `tried`: this machine's tools have just worked here, confined."""

    tried: bool = False

    def why_no_tool(self, tool: str) -> str:
        if is_here(tool):
            return ""
        return f"{tool} is not installed: sudo apt-get install {PACKAGES[tool]}"

    def why_not_direct(self) -> str:
        from growdisk.backends.available import why_no_direct

        return str(why_no_direct(tried=self.tried) or "")

    def why_no_kernel(self) -> str:
        from growdisk.backends.available import why_no_uml

        return str(why_no_uml() or "")

    def has_appliance(self) -> bool:
        from growdisk.backends.available import has_appliance

        return has_appliance()

    def e2fsprogs(self) -> tuple[int, int]:
        from growdisk.backends.available import e2fsprogs_version

        return e2fsprogs_version()

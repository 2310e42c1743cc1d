"""What the planner must know of this machine: it decides by these answers alone.

The api has the answers (api/host_tools.py). Each is looked up when it is asked for: trying a kernel
takes a second.
"""

from __future__ import annotations

from typing import Protocol


class HostTools(Protocol):
    """Each `why_` returns a reason, with what to do about it; "" if nothing stands against it."""

    def why_no_tool(self, tool: str) -> str: ...

    def why_not_direct(self) -> str:
        """Of this machine's own tools, confined."""
        ...

    def why_no_kernel(self) -> str:
        """Of a kernel that runs as a program (uml)."""
        ...

    def has_appliance(self) -> bool: ...

    def e2fsprogs(self) -> tuple[int, int]:
        """The version, as (1, 47)."""
        ...

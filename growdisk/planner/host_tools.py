"""What the planner must know of this machine: facts that its caller passes in."""

from __future__ import annotations

from typing import Protocol


class HostTools(Protocol):
    """Facts of this machine. A `why_` is a reason, with what to do about it; "" if there is none.

    They are not the planner's to find out: the api does (api/host.py). It does so when a fact
    is first asked for, since trying a kernel takes a second, and most plans need none. No answer
    depends on what was asked or decided before.
    """

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

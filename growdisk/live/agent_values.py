"""What talking to a guest agent is made of: a command, its failure, and its names as Python can have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

AgentCall = Callable[[str, Mapping[str, object], float], object]
"""One command of the agent: its name, its arguments, seconds to wait. AgentError, OSError where it does not work."""

CALL_SECONDS = 60.0


class AgentError(Exception):
    """The agent said no, or nothing that can be understood."""


def fields(value: object) -> object:
    """The agent's names, as a dataclass can have them."""
    return {str(k).replace("-", "_"): v for k, v in value.items()} if isinstance(value, dict) else value

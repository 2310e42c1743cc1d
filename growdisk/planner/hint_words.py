"""Hints name options as `growdisk expand` has them: which, for what else has others, or keys."""

from __future__ import annotations

import re

from growdisk.planner.option_table import SHARED

# --no-guest-repair, --move
_FLAG = r"(?<![\w-])--(no-)?([a-z]+(?:-[a-z]+)*)"
# Whole commands are to be typed as they stand; other programs may have options of the same names.
_COMMAND = r"(?:growdisk|lvextend|mdadm|qemu-nbd|truncate) [^;:]*"


def options_in(hint: str) -> dict[str, str]:
    """Names (the keys of a task) and flags of the options that `hint` advises."""
    flags = re.finditer(_FLAG, re.sub(_COMMAND, "", hint))
    named = ((flag[2].replace("-", "_"), flag[0]) for flag in flags)
    return {name: flag for name, flag in named if name in SHARED}


def for_a_task(hint: str) -> str:
    """`hint` with the names under which a task has its options."""
    keys = options_in(hint)
    return f"{hint} (keys of the task: {', '.join(keys)})" if keys else hint

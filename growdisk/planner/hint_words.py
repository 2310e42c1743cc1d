"""Hints name options as `growdisk expand` has them: here they are fitted to what else was called.

A whole command in a hint (`growdisk expand web01.qcow2 +10G`) is to be typed as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from growdisk.planner.option_table import PROVISIONING, SHARED, as_key

_OPTIONS = {**PROVISIONING, **SHARED}
# --no-guest-repair, --swap move, --move 2 --move 3
_VALUE = r"[\w/][\w./@=%+-]*"
_FLAG = rf"(?<![\w-])--(no-)?([a-z]+(?:-[a-z]+)*)(?: ({_VALUE}(?: --\2 {_VALUE})*))?"
# Of other programs: those whose options have names that ours have, too.
_COMMAND = r"((?:growdisk|lvextend|mdadm|qemu-nbd|truncate) [^;:]*)"


def flags_of_expand(hint: str, but: Collection[str]) -> tuple[str, ...]:
    """The options of expand that `hint` names, as in `--move`, without those called `but`."""
    flags = re.finditer(_FLAG, re.sub(_COMMAND, "", hint))
    names = {flag[2].replace("-", "_"): f"--{flag[1] or ''}{flag[2]}" for flag in flags}
    return tuple(flag for name, flag in names.items() if name in SHARED and name not in but)


def as_keys(hint: str) -> str:
    """`hint` with options as a task has them: `move: [2, 3]`, `guest_repair: false`."""
    parts = re.split(_COMMAND, hint)
    # Every second part is a whole command.
    parts[::2] = (re.sub(_FLAG, _as_key, part) for part in parts[::2])
    return "".join(parts)


def _as_key(flag: re.Match[str]) -> str:
    option = _OPTIONS.get(flag[2].replace("-", "_"))
    if option is None:
        return flag[0]
    value = (flag[3] or "").replace(f" --{flag[2]} ", ", ")
    if option.type == "bool":
        return " ".join((as_key(option.name, "false" if flag[1] else "true"), value)).rstrip()
    # Another word goes on with the sentence: "leave out --grow or ...".
    if value not in option.choices and not re.search(r"[A-Z0-9/=%]", value):
        return f"{option.name} {value}".rstrip()
    return as_key(option.name, f"[{value}]" if option.type == "list" else value)

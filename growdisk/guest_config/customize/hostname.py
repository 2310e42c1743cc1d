"""A guest's own name, in /etc/hostname and /etc/hosts. Pure."""

from __future__ import annotations

import re

from growdisk.errors import bad_value

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LONGEST = 64  # what Linux takes
# Debian gives the host's own name this address, so that it is known without a network.
OWN_ADDRESS = "127.0.1.1"


def check_hostname(name: str) -> None:
    """UsageError for what Linux, or the DNS, would not take."""
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise bad_value(
            f"'{name}' cannot be a hostname",
            "--hostname",
            name,
            hint="letters, digits and - within each label, 64 characters at most",
        )


def hosts_for(hosts: str, old: str, new: str) -> str:
    """/etc/hosts of a guest that was called `old`: its own lines name `new` instead.

    A full name is followed by the short one.
    """
    names = [new, new.partition(".")[0]] if "." in new else [new]
    own = f"{OWN_ADDRESS}\t{' '.join(names)}"
    lines, found = [], False
    for line in hosts.splitlines():
        words = line.partition("#")[0].split()
        # The line of its own name becomes ours, and further ones of that address go.
        if words[:1] == [OWN_ADDRESS]:
            if not found:
                lines.append(own)
            found = True
        elif words and words[0] in ("127.0.0.1", "::1") and _has(words[1:], old):
            # Other systems have the old name beside localhost: it goes there, and gets a line of
            # its own.
            kept = [word for word in words[1:] if not _has([word], old)]
            lines.append("\t".join([words[0], " ".join(kept or ["localhost"])]))
        else:
            lines.append(line)
    if not found:
        last = max(
            (n for n, line in enumerate(lines) if line.split()[:1] == ["127.0.0.1"]), default=-1
        )
        lines.insert(last + 1, own)
    return "\n".join(lines) + "\n"


def _has(words: list[str], name: str) -> bool:
    short = name.partition(".")[0]
    return short not in ("", "localhost") and any(word.partition(".")[0] == short for word in words)

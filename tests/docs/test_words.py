"""Words that a stranger stumbles over, and better ones (docs/glossary.md has growdisk's own)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
HABITS = {
    r"\banew\b": "again",
    r"\b[Ww]hoever\b": "name who: the caller, a reader, the next process",
    r"\blags? behind\b": "does not fill the space around it",
    r"\bbehind (the|its|his)( old| new)? (end|snapshot)\b": "beyond the end; after a snapshot",
    r"\b(lies|lie|stands?|comes?) behind (it|the end)\b": "after it",
    r"\b(it|this|that|which|\}|') is no (file|text|image|number|list|command|value)\b": "is not a",
    r"\bcan be had\b": "is available",
    r"\bsays? of (it|him)self\b": "shows",
    r"\bis told of\b": "is reported",
}
KEPT = {
    "growdisk/qcow2/writer.py": "can be had",  # a run of clusters, not a message
    "growdisk/partitions/growth.py": "can be had",
}


def texts() -> dict[str, str]:
    """What people read: code with its words, templates, pages."""
    listed = subprocess.run(
        ["git", "ls-files", "growdisk", "docs", "playbooks", "vagrant", "README.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return {
        name: (ROOT / name).read_text()
        for name in listed
        if name.endswith((".py", ".j2", ".md", ".yml"))
    }


def test_no_text_has_a_habit_that_strangers_stumble_over() -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; better: {better}"
        for name, text in texts().items()
        for habit, better in HABITS.items()
        for match in re.finditer(habit, text)
        if KEPT.get(name) != match[0]
    ]
    assert found == []


def test_the_habits_are_found_where_they_stand() -> None:
    sentence = (
        "Whoever makes it anew lies behind it: it is no file, and it can be had; it lags behind."
    )
    assert sum(bool(re.search(habit, sentence)) for habit in HABITS) == 6

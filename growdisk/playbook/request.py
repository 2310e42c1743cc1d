"""What was asked of `growdisk run`, and the variables of the command line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from growdisk.errors import bad_value
from growdisk.fast_dataclass import dataclass, field
from growdisk.host.yaml_reader import parse_yaml
from growdisk.playbook.field_parsers import is_name
from growdisk.playbook.model import Task, Vars
from growdisk.playbook.vars_folders import file_vars

# The tags of a task without any.
_UNTAGGED = frozenset({"untagged"})


@dataclass(frozen=True)
class Request:
    """`extra` beats every other variable. `tags` empty: all tasks but those tagged never."""

    playbook: Path
    inventories: tuple[str, ...] = ()
    extra: Vars = field(default_factory=dict)
    limit: str = ""
    tags: frozenset[str] = frozenset()
    skip_tags: frozenset[str] = frozenset()
    check: bool = False
    diff: bool = False
    jobs: int = 1

    def takes(self, task: Task) -> bool:
        """Ansible's rules, with its words always, never, all, tagged and untagged."""
        tags = task.tags or _UNTAGGED
        return self._asked_for(tags) and not self._skips(tags)

    def _asked_for(self, tags: frozenset[str]) -> bool:
        wanted = self.tags or {"all"}
        if "always" in tags or wanted & tags:
            return True
        # `never` runs only if it, or another tag of the task, is asked for.
        tagged = "tagged" in wanted and tags != _UNTAGGED
        return ("all" in wanted or tagged) and "never" not in tags

    def _skips(self, tags: frozenset[str]) -> bool:
        # `always` is spared by --skip-tags all alone: any other word that fits skips it.
        if "all" in self.skip_tags:
            return "always" not in tags or "always" in self.skip_tags
        tagged = "tagged" in self.skip_tags and tags != _UNTAGGED
        return bool(self.skip_tags & tags) or tagged


def extra_vars(words: Sequence[str]) -> dict[str, object]:
    """`k=v k2=v2`, `@FILE`, or a mapping in YAML or JSON; later ones win."""
    found: dict[str, object] = {}
    for word in words:
        text = word.strip()
        if text.startswith("@"):
            found |= file_vars(Path(text[1:]).expanduser())
        elif text.startswith("{"):
            found |= _mapping(text)
        else:
            found |= _pairs(text)
    for name in found:
        if not is_name(name):
            raise bad_value(
                f"-e: '{name}' cannot be the name of a variable",
                "-e",
                name,
                hint="use letters, digits and _",
            )
    return found


def _mapping(text: str) -> dict[str, object]:
    document = parse_yaml(text, "-e")
    # It begins with a brace, so it is not empty.
    assert document is not None
    if not document.is_mapping:
        raise bad_value(f"cannot read -e {text}", "-e", text, 'write -e \'{"size": "+10G"}\'')
    return {key: value.plain() for key, value, _ in document.entries()}


def _pairs(text: str) -> dict[str, object]:
    """All values are texts, as with Ansible."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise bad_value(
            f"cannot read -e {text}", "-e", text, hint="write -e size=+10G", reason=str(error)
        ) from error
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise bad_value(
                f"cannot read -e {word}", "-e", word, hint="write -e NAME=VALUE, or -e @FILE"
            )
        found[name] = value
    return found

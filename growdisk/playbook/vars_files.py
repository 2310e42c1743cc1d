"""Variables from outside of a playbook: -e, group_vars/ and host_vars/ next to inventories.

The order of the files is Ansible's:
inventory's all < its groups < files of all < files of groups < inventory's host < files of host.
"""

from __future__ import annotations

import operator
import shlex
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path

from growdisk.errors import bad_value
from growdisk.given_file import given_path
from growdisk.host.yaml_reader import parse_yaml, read_yaml
from growdisk.playbook.keywords import is_name

_SUFFIXES = ("", ".yml", ".yaml", ".json")


class VarsFolders:
    """`folders` hold group_vars/ and host_vars/; the last one wins. Each file is read once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._read: dict[tuple[Path, str, str], dict[str, object]] = {}

    def of(self, kind: str, names: Sequence[str]) -> dict[str, object]:
        """Of `group_vars`, outer groups first in `names`, or of `host_vars`. bad-file."""
        found: dict[str, object] = {}
        for folder in self._folders:
            # Within one folder the inner group wins; what a later folder says wins over both.
            for name in names:
                key = (folder, kind, name)
                if key not in self._read:
                    files = map(file_vars, _files_of(folder / kind, name))
                    self._read[key] = reduce(operator.or_, files, {})
                found |= self._read[key]
        return found


def file_vars(path: Path) -> dict[str, object]:
    """The variables in a file. bad-file."""
    document = read_yaml(path)
    if document is None:
        return {}
    if not document.is_mapping:
        raise document.bad("variables are a mapping", hint="write NAME: VALUE")
    return document.plain_entries()


def _files_of(folder: Path, name: str) -> Iterator[Path]:
    """The files of a group or host: those in the folder NAME, or else the first one file."""
    # A host may be called by its path, which has no files of variables.
    if name.startswith("/"):
        return
    for suffix in _SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.is_dir() and not suffix:
            yield from _files_in(path)
            return
        if path.is_file():
            yield path
            return


def _files_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        # Hidden files, and what editors leave.
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            yield from _files_in(path)
        elif path.is_file() and path.suffix in _SUFFIXES:
            yield path


def extra_vars(words: Sequence[str]) -> dict[str, object]:
    """`k=v k2=v2`, `@FILE`, or a mapping in YAML or JSON; later ones win."""
    found: dict[str, object] = {}
    for word in words:
        text = word.strip()
        if text.startswith("@"):
            found |= file_vars(given_path(text[1:]))
        elif text.startswith("{"):
            found |= _mapping(text)
        else:
            found |= _pairs(text)
    for name in found:
        if not is_name(name):
            problem = f"-e: '{name}' cannot be the name of a variable"
            raise bad_value(problem, "-e", name, "use letters, digits and _")
    return found


def _mapping(text: str) -> dict[str, object]:
    document = parse_yaml(text, "-e")
    # It begins with a brace, so it is not empty.
    assert document is not None
    if not document.is_mapping:
        raise bad_value(f"cannot read -e {text}", "-e", text, 'write -e \'{"size": "+10G"}\'')
    return document.plain_entries()


def _pairs(text: str) -> dict[str, object]:
    """All values are texts, as with Ansible."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        problem = f"cannot read -e {text}"
        raise bad_value(problem, "-e", text, "write -e size=+10G", str(error)) from error
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            hint = "write -e NAME=VALUE, or -e @FILE"
            if word != text:
                hint += "; quote a value that has spaces once more: -e 'NAME=\"a value\"'"
            raise bad_value(f"cannot read -e {word}", "-e", word, hint=hint)
        found[name] = value
    return found

"""Reads a playbook: every word, option, value and expression is looked at before anything runs.

What cannot be known yet (a template's value) is looked at again for each host, by preflight, and still before the first
task.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.host.yaml_reader import BadFile, Located, Place, read_yaml
from growdisk.playbook.field_parsers import (
    check_templates,
    listed,
    refuse_become,
    tags_of,
    text_of,
    truth_or_template,
    vars_of,
)
from growdisk.playbook.keywords import HOW_FAR_BACK, ON_FAILURE, PLAY_WORDS, unknown_play_word
from growdisk.playbook.model import Play, Playbook
from growdisk.playbook.task_loader import read_task


def load(path: Path) -> Playbook:
    """The playbook in the file. BadFile, with the place, for whatever is wrong with it."""
    document = read_yaml(path)
    if document is None:
        raise BadFile("it is empty", place=str(path), hint="a playbook is a list of plays")
    if not document.is_list:
        raise BadFile("a playbook is a list of plays", place=document.place, hint="begin the first with: - name: …")
    return Playbook(path, tuple(_play(item) for item in document.items()))


def _play(node: Located) -> Play:
    if not node.is_mapping:
        raise BadFile("a play is a mapping", place=node.place, hint="write - name: …, hosts: …, tasks: …")
    for key, _, place in node.entries():
        if key not in PLAY_WORDS:
            raise unknown_play_word(key, place)
    found = {key: value for key, value, _ in node.entries()}
    if "hosts" not in found:
        raise BadFile("this play does not say which hosts", place=node.place, hint="add hosts: an image, or a group")
    _refuse_elsewhere(found)
    hosts = tuple(_hosts(found["hosts"]))
    tags = tags_of(found.get("tags"))
    return Play(
        name=text_of(found.get("name"), "name") or ", ".join(hosts), hosts=hosts, place=found["hosts"].place,
        tasks=tuple(read_task(item, tags) for item in listed(found.get("tasks"), "tasks")),
        vars=_vars(found.get("vars")), vars_files=tuple(_vars_files(found.get("vars_files"))),
        ignore_errors=truth_or_template(found.get("ignore_errors"), "ignore_errors", default=False),
        check_mode=truth_or_template(found.get("check_mode"), "check_mode"),
        diff=truth_or_template(found.get("diff"), "diff"),
    )  # fmt: skip


def _refuse_elsewhere(words: dict[str, Located]) -> None:
    """growdisk works here, and as who it is."""
    connection = words.get("connection")
    if connection is not None and connection.value != "local":
        raise BadFile("growdisk run works on this machine", place=connection.place, hint="connection: local")
    refuse_become(words.get("become"))


def _hosts(node: Located) -> Iterator[str]:
    for item in node.items() if node.is_list else (node,):
        if not isinstance(item.value, str) or not item.value.strip():
            raise BadFile("hosts are names, paths or globs", place=item.place, hint="hosts: guests")
        check_templates(item.value, item.place)
        yield item.value


def _vars(node: Located | None) -> dict[str, object]:
    found = vars_of(node)
    value = found.get(ON_FAILURE, HOW_FAR_BACK[0])
    if node is not None and isinstance(value, str) and "{{" not in value and value not in HOW_FAR_BACK:
        place = next(item.place for key, item, _ in node.entries() if key == ON_FAILURE)
        raise BadFile(f"{ON_FAILURE} cannot be '{value}'", place=place, hint=f"choose one of {', '.join(HOW_FAR_BACK)}")
    return found


def _vars_files(node: Located | None) -> Iterator[tuple[str, Place]]:
    for item in listed(node, "vars_files"):
        yield text_of(item, "vars_files"), item.place

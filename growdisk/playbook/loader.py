"""Reads a playbook: every word, option, value and expression is looked at before anything runs.

What cannot be known yet (a template's value) is looked at again for each host, by preflight, and
still before the first task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from growdisk.errors import GrowdiskError, suggestion
from growdisk.host.yaml_reader import Located, YamlPosition, bad_file, read_yaml
from growdisk.playbook.expressions import templates_in
from growdisk.playbook.keywords import (
    BUILTIN,
    BUILTIN_OPTIONS,
    HOW_FAR_BACK,
    LOOP_WORDS,
    ON_FAILURE,
    PLAY_WORDS,
    TASK_WORDS,
    check_all,
    check_expression,
    check_templates,
    conditions_of,
    flag_of,
    full_name,
    is_name,
    items_of,
    refuse_become,
    tags_of,
    text_of,
    truth_or_template,
    unknown_play_word,
    unknown_task_word,
    unknown_word,
    variable_name,
    vars_of,
)
from growdisk.playbook.model import LoopControl, Play, Playbook, Task
from growdisk.playbook.options import check_option
from growdisk.playbook.specs import NAMESPACE, TASKS, TaskSpec


def load_playbook(path: Path) -> Playbook:
    """The playbook in the file. bad-file, with the place, for any mistake in it."""
    document = read_yaml(path)
    if document is None:
        raise bad_file("it is empty", place=str(path), hint="a playbook is a list of plays")
    if not document.is_list:
        raise document.bad("a playbook is a list of plays", hint="begin the first with: - name: …")
    return Playbook(path, tuple(_play(item) for item in document.items()))


def _play(node: Located) -> Play:
    if not node.is_mapping:
        raise node.bad("a play is a mapping", hint="write - name: …, hosts: …, tasks: …")
    # Unknown words before anything else: a misspelt `hosts` is told as such, not as missing.
    for key, _, place in node.entries():
        if key not in PLAY_WORDS:
            raise unknown_play_word(key, place)
    found = {key: value for key, value, _ in node.entries()}
    if "hosts" not in found:
        raise node.bad("this play does not say which hosts", hint="add hosts: an image, or a group")
    _refuse_elsewhere(found)
    hosts = tuple(_hosts(found["hosts"]))
    tags = tags_of(found.get("tags"))
    return Play(
        name=text_of(found.get("name"), "name") or ", ".join(hosts),
        hosts=hosts,
        place=found["hosts"].place,
        tasks=tuple(read_task(item, tags) for item in items_of(found.get("tasks"), "tasks")),
        vars=_vars(found.get("vars")),
        vars_files=tuple(_vars_files(found.get("vars_files"))),
        ignore_errors=truth_or_template(found.get("ignore_errors"), "ignore_errors", default=False),
        check_mode=truth_or_template(found.get("check_mode"), "check_mode"),
        diff=truth_or_template(found.get("diff"), "diff"),
    )


def _refuse_elsewhere(words: dict[str, Located]) -> None:
    """growdisk works here, and as who it is."""
    connection = words.get("connection")
    if connection is not None and connection.value != "local":
        raise connection.bad("growdisk run works on this machine", hint="connection: local")
    refuse_become(words.get("become"))


def _hosts(node: Located) -> Iterator[str]:
    for item in node.items() if node.is_list else (node,):
        if not isinstance(item.value, str) or not item.value.strip():
            raise item.bad("hosts are names, paths or globs", hint="hosts: guests")
        check_templates(item.value, item.place)
        yield item.value


def _vars(node: Located | None) -> dict[str, object]:
    found = vars_of(node)
    value = found.get(ON_FAILURE, HOW_FAR_BACK[0])
    # With an expression in it, how_far_back() judges the value for each host.
    if (
        node is not None
        and isinstance(value, str)
        and "{{" not in value
        and value not in HOW_FAR_BACK
    ):
        place = next(item.place for key, item, _ in node.entries() if key == ON_FAILURE)
        raise bad_file(
            f"{ON_FAILURE} cannot be '{value}'",
            place=place,
            hint=f"choose one of {', '.join(HOW_FAR_BACK)}",
        )
    return found


def _vars_files(node: Located | None) -> Iterator[tuple[str, YamlPosition]]:
    for item in items_of(node, "vars_files"):
        yield text_of(item, "vars_files"), item.place


# Reads one task: which it is, its options, and the words around it.

_Words = Mapping[str, tuple[Located, YamlPosition]]


def read_task(node: Located, play_tags: frozenset[str]) -> Task:
    """bad-file, with the place, for whatever is wrong with it."""
    if not node.is_mapping:
        raise node.bad("a task is a mapping", hint="write - name: …, and the task below it")
    words = {key: (value, place) for key, value, place in node.entries()}
    # First what the task is: its options can only be judged by that.
    action, (given, place) = _action(words, node.place)
    _refuse_delegation(words)
    found = {key: value for key, (value, _) in words.items()}
    options, places = _options(action, given, place, found.get("args"))
    loop = found.get("loop")
    if loop is not None:
        check_all(loop)
    return Task(
        name=text_of(found.get("name"), "name") or action,
        action=action,
        options=options,
        place=place,
        places=places,
        vars=vars_of(found.get("vars")),
        when=conditions_of(found.get("when"), "when") or (),
        loop=loop.plain() if loop is not None else None,
        loop_control=_loop_control(found.get("loop_control")),
        register=variable_name(found.get("register"), "register"),
        # None if it is not written. () is not the same: no condition at all always holds, and would
        # fail the task.
        failed_when=conditions_of(found.get("failed_when"), "failed_when"),
        changed_when=conditions_of(found.get("changed_when"), "changed_when"),
        ignore_errors=truth_or_template(found.get("ignore_errors"), "ignore_errors"),
        tags=tags_of(found.get("tags")) | play_tags,
        check_mode=truth_or_template(found.get("check_mode"), "check_mode"),
        diff=truth_or_template(found.get("diff"), "diff"),
        no_log=flag_of(found.get("no_log"), "no_log"),
    )


def _action(words: _Words, place: YamlPosition) -> tuple[str, tuple[Located, YamlPosition]]:
    """The one word that is neither a keyword nor unknown."""
    found: list[tuple[str, tuple[Located, YamlPosition]]] = []
    for key, value in words.items():
        if key in TASK_WORDS:
            continue
        name = full_name(key)
        if not name:
            raise unknown_task_word(key, value[1])
        found.append((name, value))
    if not found:
        raise bad_file(
            "this task does nothing",
            place=place,
            hint=f"name what it does, such as {NAMESPACE}.expand:",
        )
    if len(found) > 1:
        names = " and ".join(name for name, _ in found)
        raise bad_file(
            "this task does two things",
            place=found[1][1][1],
            reason=names,
            hint="make two tasks of it",
        )
    return found[0]


def _refuse_delegation(words: _Words) -> None:
    refuse_become(words["become"][0] if "become" in words else None)
    if "delegate_to" in words:
        node = words["delegate_to"][0]
        if node.value not in ("localhost", "127.0.0.1"):
            raise node.bad("growdisk run works on this machine", hint="delegate_to: localhost")
    if "run_once" in words and flag_of(words["run_once"][0], "run_once"):
        hint = "make a play of its own for it, with hosts: localhost"
        raise bad_file("growdisk run does not know run_once", place=words["run_once"][1], hint=hint)


def _options(
    action: str, given: Located, place: YamlPosition, more: Located | None
) -> tuple[dict[str, object], dict[str, YamlPosition]]:
    options: dict[str, object] = {}
    places: dict[str, YamlPosition] = {}
    # `args:` beside the task adds to its options, and wins.
    for node in (given, more):
        if node is None or node.value is None:
            continue
        if not node.is_mapping:
            raise node.bad(
                f"the options of {action} are a mapping", hint="write NAME: VALUE below it"
            )
        for key, value, where in node.entries():
            _check(action, key, value, where)
            options[key], places[key] = value.plain(), value.place
    spec = TASKS.get(action.removeprefix(f"{NAMESPACE}."))
    for option in spec.options if spec else ():
        # An expression counts as given: it may yet come to nothing, which typed() finds.
        if option.required and options.get(option.name) is None:
            raise bad_file(f"{action} needs {option.name}", place=place, hint=option.description)
    return options, places


def _check(action: str, key: str, value: Located, where: YamlPosition) -> None:
    check_all(value)
    if not action.startswith(f"{NAMESPACE}."):
        _check_builtin(action, key, value, where)
        return
    spec: TaskSpec = TASKS[action.removeprefix(f"{NAMESPACE}.")]
    known = [option.name for option in spec.options]
    if key not in known:
        hint = suggestion(key, known, f"it has: {', '.join(known)}")
        raise bad_file(f"{action} has no option '{key}'", place=where, hint=hint)
    plain = value.plain()
    if any(True for _ in templates_in(plain)):
        return  # the value is not known yet: preflight and the task itself look at it
    try:
        check_option(spec, key, plain)
    except GrowdiskError as error:
        raise value.bad(error.what, reason=error.why, hint=error.what_to_do) from error


def _check_builtin(action: str, key: str, value: Located, where: YamlPosition) -> None:
    known = BUILTIN_OPTIONS[action.removeprefix(f"{BUILTIN}.")]
    if not known:
        # set_fact: each key is a variable to be set, but this one is Ansible's own option.
        if key != "cacheable" and not is_name(key):
            raise bad_file(
                f"'{key}' cannot be the name of a variable",
                place=where,
                hint="use letters, digits and _",
            )
        return
    if key not in known:
        hint = suggestion(key, known, f"it has: {', '.join(known)}")
        raise bad_file(f"{action} has no option '{key}'", place=where, hint=hint)
    if key == "that":
        conditions_of(value, "that")
    elif key == "var":
        check_expression(str(value.value), value.place)


def _loop_control(node: Located | None) -> LoopControl:
    if node is None:
        return LoopControl()
    if not node.is_mapping:
        raise node.bad("loop_control is a mapping", hint="such as loop_var: disk, below it")
    found = {}
    for key, value, place in node.entries():
        if key not in LOOP_WORDS:
            raise unknown_word(key, place, "loop_control", LOOP_WORDS)
        found[key] = value
    return LoopControl(
        variable_name(found.get("loop_var"), "loop_var") or "item",
        variable_name(found.get("index_var"), "index_var"),
        text_of(found.get("label"), "label"),
    )

"""Reads a playbook: every word, option, value and expression is looked at before anything runs.

What cannot be known yet (a template's value) is looked at again for each host, by preflight, and
still before the first task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from growdisk.errors import GrowdiskError
from growdisk.host.yaml_reader import Located, YamlPosition, bad_file, read_yaml
from growdisk.playbook import keywords
from growdisk.playbook.expressions import templates_in
from growdisk.playbook.keywords import Keywords
from growdisk.playbook.model import LoopControl, Play, Playbook, Task
from growdisk.playbook.options import check_option
from growdisk.playbook.specs import NAMESPACE, TASKS
from growdisk.suggestions import suggestion


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
    # Unknown words before anything else: a misspelt `hosts` is reported as such, not as missing.
    for key, _, place in node.entries():
        if key not in keywords.PLAY_WORDS:
            raise keywords.unknown_word(
                key, place, "play", keywords.PLAY_WORDS, keywords.ANSIBLE_PLAY
            )
    words = Keywords(node)
    named = words.node("hosts")
    if named is None:
        raise node.bad("this play does not say which hosts", hint="add hosts: an image, or a group")
    # growdisk works on this machine, and does not become another user.
    connection = words.node("connection")
    if connection is not None and connection.value != "local":
        raise connection.bad("growdisk run works on this machine", hint="connection: local")
    words.refuse_become()
    hosts, tags = tuple(_hosts(named)), words.tags()
    return Play(
        name=words.text("name") or ", ".join(hosts),
        hosts=hosts,
        place=named.place,
        tasks=tuple(read_task(item, tags) for item in words.items("tasks")),
        vars=_play_vars(words),
        vars_files=tuple(
            (keywords.text_of(item, "vars_files"), item.place) for item in words.items("vars_files")
        ),
        ignore_errors=words.flag_or_template("ignore_errors", default=False),
        check_mode=words.flag_or_template("check_mode"),
        diff=words.flag_or_template("diff"),
    )


def _hosts(node: Located) -> Iterator[str]:
    for item in node.one_or_more():
        if not isinstance(item.value, str) or not item.value.strip():
            raise item.bad("hosts are names, paths or globs", hint="hosts: guests")
        keywords.check_templates(item.value, item.place)
        yield item.value


def _play_vars(words: Keywords) -> dict[str, object]:
    found, node = words.vars(), words.node("vars")
    value = found.get(keywords.ON_FAILURE, keywords.ON_FAILURE_CHOICES[0])
    # With an expression in it, on_failure() judges the value for each host.
    if (
        node is not None
        and isinstance(value, str)
        and "{{" not in value
        and value not in keywords.ON_FAILURE_CHOICES
    ):
        place = next(item.place for key, item, _ in node.entries() if key == keywords.ON_FAILURE)
        hint = f"choose one of {', '.join(keywords.ON_FAILURE_CHOICES)}"
        raise bad_file(f"{keywords.ON_FAILURE} cannot be '{value}'", place, hint=hint)
    return found


# One task: which it is, its options, its keywords.


def read_task(node: Located, play_tags: frozenset[str]) -> Task:
    """bad-file, with the place, for anything that is wrong with it."""
    if not node.is_mapping:
        raise node.bad("a task is a mapping", hint="write - name: …, and the task below it")
    words = Keywords(node)
    # First what the task is: its options can only be judged by that.
    action, given, place = _action(node)
    _refuse_delegation(node, words)
    options, places = _options(action, given, place, words.node("args"))
    loop = words.node("loop")
    if loop is not None:
        keywords.check_all(loop)
    return Task(
        name=words.text("name") or action,
        action=action,
        options=options,
        place=place,
        places=places,
        vars=words.vars(),
        when=words.conditions("when") or (),
        loop=loop.plain() if loop is not None else None,
        loop_control=_loop_control(words.node("loop_control")),
        register=words.variable_name("register"),
        # None if it is not written: () would mean that no condition is true.
        failed_when=words.conditions("failed_when"),
        changed_when=words.conditions("changed_when"),
        ignore_errors=words.flag_or_template("ignore_errors"),
        tags=words.tags() | play_tags,
        check_mode=words.flag_or_template("check_mode"),
        diff=words.flag_or_template("diff"),
        no_log=words.flag("no_log"),
    )


def _action(node: Located) -> tuple[str, Located, YamlPosition]:
    """The one word that is neither a keyword nor unknown: its full name, its value, its place."""
    found: list[tuple[str, Located, YamlPosition]] = []
    for key, value, place in node.entries():
        if key in keywords.TASK_WORDS:
            continue
        name = keywords.full_name(key)
        if not name:
            raise keywords.unknown_task_word(key, place)
        found.append((name, value, place))
    if not found:
        problem = "this task does nothing"
        raise bad_file(problem, node.place, hint=f"name what it does, such as {NAMESPACE}.expand:")
    if len(found) > 1:
        names = " and ".join(name for name, _, _ in found)
        problem = "this task does two things"
        raise bad_file(problem, found[1][2], names, "make two tasks of it")
    return found[0]


def _refuse_delegation(node: Located, words: Keywords) -> None:
    words.refuse_become()
    other = words.node("delegate_to")
    if other is not None and other.value not in ("localhost", "127.0.0.1"):
        raise other.bad("growdisk run works on this machine", hint="delegate_to: localhost")
    if words.flag("run_once"):
        place = next(place for key, _, place in node.entries() if key == "run_once")
        hint = "make a play of its own for it, with hosts: localhost"
        raise bad_file("growdisk run does not know run_once", place=place, hint=hint)


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
    keywords.check_all(value)
    if not action.startswith(f"{NAMESPACE}."):
        _check_builtin(action, key, value, where)
        return
    spec = TASKS[action.removeprefix(f"{NAMESPACE}.")]
    _refuse_unknown_option(action, key, [option.name for option in spec.options], where)
    plain = value.plain()
    if any(True for _ in templates_in(plain)):
        return  # the value is not known yet: preflight and the task itself look at it
    try:
        check_option(spec, key, plain)
    except GrowdiskError as error:
        raise value.bad(error.what, reason=error.why, hint=error.what_to_do) from error


def _refuse_unknown_option(
    action: str, key: str, known: Sequence[str], where: YamlPosition
) -> None:
    if key not in known:
        hint = suggestion(key, known, f"it has: {', '.join(known)}")
        raise bad_file(f"{action} has no option '{key}'", place=where, hint=hint)


def _check_builtin(action: str, key: str, value: Located, where: YamlPosition) -> None:
    known = keywords.BUILTIN_OPTIONS[action.removeprefix(f"{keywords.BUILTIN}.")]
    if not known:
        # set_fact: each key is a variable to be set, but this one is Ansible's own option.
        if key != "cacheable":
            keywords.refuse_no_name(key, where)
        return
    _refuse_unknown_option(action, key, known, where)
    if key == "that":
        keywords.conditions_of(value, "that")
    elif key == "var":
        keywords.check_expression(str(value.value), value.place)


def _loop_control(node: Located | None) -> LoopControl:
    if node is None:
        return LoopControl()
    if not node.is_mapping:
        raise node.bad("loop_control is a mapping", hint="such as loop_var: disk, below it")
    for key, _, place in node.entries():
        if key not in keywords.LOOP_WORDS:
            raise keywords.unknown_word(key, place, "loop_control", keywords.LOOP_WORDS)
    words = Keywords(node)
    return LoopControl(
        words.variable_name("loop_var") or "item",
        words.variable_name("index_var"),
        words.text("label"),
    )

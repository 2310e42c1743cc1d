"""The few of Ansible's own tasks that playbooks need between growdisk's: debug, assert, fail, set_fact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import ClassVar

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.playbook.expressions import Scope
from growdisk.playbook.model import Task
from growdisk.playbook.outcome import Outcome, failure


@dataclass(eq=False)
class FailTask(Refused):
    """fail, assert, or failed_when: the playbook's own word."""

    ID: ClassVar[str] = "told-to-fail"
    WHAT: ClassVar[str] = "{reason}"
    reason: str


def carry_out(task: Task, scope: Scope) -> Outcome:
    """`task` is one of ansible.builtin. TemplateFailed where an expression fails."""
    return _ACTIONS[task.action.rsplit(".", 1)[-1]](task, scope)


def _debug(task: Task, scope: Scope) -> Outcome:
    if "var" in task.options:
        name = str(task.options["var"])
        value = scope.value(name, task.place_of("var"))
        return Outcome(changed=False, message=f"{name}: {_shown(value)}", result={name: value})
    message = scope.filled_in(task.options.get("msg", "Hello world!"), task.place_of("msg"))
    return Outcome(changed=False, message=_shown(message), result={"msg": message})


def _assert(task: Task, scope: Scope) -> Outcome:
    that = task.options.get("that", [])
    for condition in that if isinstance(that, list) else [that]:
        text = str(condition).lower() if isinstance(condition, bool) else str(condition)
        if not scope.holds([text], task.place_of("that")):
            told = task.options.get("fail_msg", task.options.get("msg", "Assertion failed"))
            message = str(scope.filled_in(told, task.place))
            return failure(FailTask(f"{message} ({text})"), {"assertion": text, "evaluated_to": False})
    told = task.options.get("success_msg", "All assertions passed")
    return Outcome(changed=False, message=str(scope.filled_in(told, task.place)))


def _fail(task: Task, scope: Scope) -> Outcome:
    told = task.options.get("msg", "Failed as requested from task")
    return failure(FailTask(_shown(scope.filled_in(told, task.place_of("msg")))), {})


def _set_fact(task: Task, scope: Scope) -> Outcome:
    given = {name: value for name, value in task.options.items() if name != "cacheable"}
    facts = {name: scope.filled_in(value, task.place_of(name)) for name, value in given.items()}
    return Outcome(changed=False, message=", ".join(facts), result={"ansible_facts": facts})


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


_ACTIONS: Mapping[str, Callable[[Task, Scope], Outcome]] = {
    "debug": _debug, "assert": _assert, "fail": _fail, "set_fact": _set_fact,
}  # fmt: skip

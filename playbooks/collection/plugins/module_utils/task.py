"""The whole work of a module: options as growdisk declares them, the task as it does it.

`growdisk run` calls the same function, so that the two cannot differ. This runs in the interpreter
of the module, which must be one that has growdisk: ansible_python_interpreter says which.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule

try:
    from growdisk import __version__
    from growdisk.playbook.perform import perform
    from growdisk.playbook.specs import TASKS
    from growdisk.workflow.stopping import SignalsStop, StopRequest
except (ImportError, SyntaxError) as error:
    # not there, older than playbooks, or of a Python that is too old for it
    _MISSING = f"{type(error).__name__}: {error}"
else:
    _MISSING = ""

if TYPE_CHECKING:
    from growdisk.playbook.perform import TaskResult
    from growdisk.playbook.specs import OptionSpec, TaskSpec

_INSTALL = (
    "let ansible_python_interpreter name the Python of growdisk's installation on this host, such "
    "as "
    "/opt/growdisk/.venv/bin/python (the collection's README says how)"
)


def carry_out(task: str) -> None:
    """Be the module of `task`. Ends the process."""
    if _MISSING:
        _fail_without_growdisk(f"{sys.executable} cannot import growdisk ({_MISSING})")
    if task not in TASKS:
        _fail_without_growdisk(f"growdisk {__version__} of {sys.executable} has no task {task}")
    module = AnsibleModule(argument_spec(TASKS[task]), supports_check_mode=True)
    try:
        with SignalsStop(StopRequest()) as stop:
            outcome = perform(task, module.params, check=module.check_mode, stop=stop)
    except Exception as bug:
        module.fail_json(
            msg=f"growdisk has a bug: {bug!r} (report it)", exception=traceback.format_exc()
        )
    _answer(module, outcome)


def argument_spec(spec: TaskSpec) -> dict[str, dict[str, object]]:
    """The options of a task in Ansible's terms."""
    return {option.name: _declared(option) for option in spec.options}


def _declared(option: OptionSpec) -> dict[str, object]:
    """An option for Ansible, always with no_log.

    Without it Ansible guesses by the name, and warns.
    """
    declared: dict[str, object] = {"type": option.type, "no_log": False}
    if option.required:
        declared["required"] = True
    elif option.default is not None:
        declared["default"] = option.default
    if option.choices:
        declared["choices"] = list(option.choices)
    if option.elements:
        declared["elements"] = option.elements
    return declared


def _answer(module: AnsibleModule, outcome: TaskResult) -> None:
    answer = {**outcome.result, "msg": outcome.message, "changed": outcome.changed}
    if outcome.failed:
        module.fail_json(**answer)
    if outcome.diff is not None:
        answer["diff"] = {"before": outcome.diff.before, "after": outcome.diff.after}
    _warn_of_losses(module, outcome)
    module.exit_json(**answer)


def _warn_of_losses(module: AnsibleModule, outcome: TaskResult) -> None:
    """What was asked to grow must not cost anybody something silently.

    Ansible shows no host with a warning.
    """
    disk = (
        module.params.get("image") or module.params.get("domain") or module.params.get("qmp") or ""
    )
    would_be = "would be " if module.check_mode else ""
    for lost in outcome.result.get("given_up", ()):
        module.warn(f"{disk}: {would_be}given up: {lost}")


def _fail_without_growdisk(why: str) -> None:
    """Fail as fail_json would, without showing options: unknown ones might be secrets."""
    error = {"what": "this module needs growdisk", "why": why, "do": _INSTALL, "code": 3}
    answer = {
        "failed": True,
        "changed": False,
        "msg": f"{error['what']}: {why} ({_INSTALL})",
        "error": error,
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.exit(1)

"""The words that a playbook may use, and where each may stand.

What is not here is an error before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from growdisk.errors import UsageError
from growdisk.host.yaml_reader import YamlPosition, bad_file
from growdisk.playbook.options import nearest, suggestion
from growdisk.playbook.specs import NAMESPACE, TASKS

PLAY_WORDS = (
    "name", "hosts", "vars", "vars_files", "tasks", "tags", "gather_facts", "connection", "become",
    "ignore_errors", "check_mode", "diff",
)  # fmt: skip
TASK_WORDS = (
    "name", "when", "loop", "loop_control", "register", "failed_when", "changed_when",
    "ignore_errors", "tags", "vars", "check_mode", "diff", "no_log", "args", "become",
    "delegate_to", "run_once",
)  # fmt: skip
LOOP_WORDS = ("loop_var", "index_var", "label")
ON_FAILURE = "growdisk_on_failure"
HOW_FAR_BACK = ("task", "play", "none")

# What Ansible has, and growdisk run does not: said so, instead of being taken for a slip of the
# pen.
_ANSIBLE_PLAY = frozenset(
    {
        "any_errors_fatal", "become_exe", "become_flags", "become_method", "become_user",
        "collections", "debugger", "environment", "fact_path", "force_handlers", "gather_subset",
        "gather_timeout", "handlers", "ignore_unreachable", "max_fail_percentage",
        "module_defaults", "no_log", "order", "port", "post_tasks", "pre_tasks", "remote_user",
        "roles", "run_once", "serial", "strategy", "throttle", "timeout", "vars_prompt",
        "import_playbook",
    }
)  # fmt: skip
_ANSIBLE_TASK = frozenset(
    {
        "block", "rescue", "always", "action", "any_errors_fatal", "async", "poll", "become_exe",
        "become_flags", "become_method", "become_user", "collections", "connection", "debugger",
        "delay", "delegate_facts", "environment", "ignore_unreachable", "local_action",
        "module_defaults", "notify", "listen", "port", "remote_user", "retries", "throttle",
        "timeout", "until", "import_tasks", "include_tasks", "include_vars",
    }
)  # fmt: skip
BUILTIN = "ansible.builtin"
BUILTIN_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "debug": ("msg", "var", "verbosity"),
        "assert": ("that", "fail_msg", "msg", "success_msg", "quiet"),
        "fail": ("msg",),
        "set_fact": (),  # any name
    }
)


def task_names() -> list[str]:
    return [
        *(f"{NAMESPACE}.{name}" for name in TASKS),
        *(f"{BUILTIN}.{name}" for name in BUILTIN_OPTIONS),
    ]


def full_name(word: str) -> str:
    """The qualified name of a task, or "" if there is none of that name.

    `debug` is Ansible's own.
    """
    if word in task_names():
        return word
    builtin = f"{BUILTIN}.{word}"
    return builtin if builtin in task_names() else ""


def unknown_play_word(word: str, place: YamlPosition) -> UsageError:
    return _unknown(word, place, "play", PLAY_WORDS, _ANSIBLE_PLAY)


def unknown_task_word(word: str, place: YamlPosition) -> UsageError:
    known = [*TASK_WORDS, *task_names()]
    # Compared without their collections: growdisk.disk.expnd, or expand alone, is meant for
    # growdisk.disk.expand.
    short = nearest(word.rsplit(".", 1)[-1], [name.rsplit(".", 1)[-1] for name in task_names()])
    if word not in _ANSIBLE_TASK and not nearest(word, TASK_WORDS) and short:
        full = next(name for name in task_names() if name.endswith(f".{short}"))
        return bad_file(f"there is no task or keyword '{word}'", place=place, hint=f"write {full}")
    return _unknown(word, place, "task", known, _ANSIBLE_TASK)


def unknown_word(word: str, place: YamlPosition, where: str, known: Iterable[str]) -> UsageError:
    return _unknown(word, place, where, tuple(known), frozenset())


def _unknown(
    word: str, place: YamlPosition, where: str, known: Iterable[str], ansible: frozenset[str]
) -> UsageError:
    if word in ansible:
        hint = "leave it out, or run this playbook with ansible-playbook"
        return bad_file(
            f"growdisk run does not know '{word}'",
            place=place,
            reason="only Ansible has it",
            hint=hint,
        )
    hint = suggestion(word, known, f"a {where} has: {', '.join(known)}")
    return bad_file(f"a {where} has no '{word}'", place=place, hint=hint)

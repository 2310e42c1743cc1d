"""Checks a play on one host before anything runs: all that can be known to go wrong.

Names that nobody defines, expressions that fail, options that are not sizes or choices, images
that are not there. What depends on the result of an earlier task is checked when its turn comes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from growdisk.errors import GrowdiskError, Refused, error_id
from growdisk.host.yaml_reader import YamlPosition, bad_file
from growdisk.playbook.expressions import (
    OMIT,
    TaskVariables,
    sandbox,
    template_failed,
    templates_in,
)
from growdisk.playbook.hosts import PlayContext
from growdisk.playbook.keywords import ON_FAILURE
from growdisk.playbook.model import NOT_SHOWN, SHOW_IT, Task
from growdisk.playbook.options import check_option, path_of
from growdisk.playbook.specs import NAMESPACE, TaskSpec
from growdisk.suggestions import suggestion

_READ = ("image", "base")


def refuse_twice(play: str, touched: Mapping[str, Iterable[Path]]) -> None:
    """No two hosts of a play may touch one image."""
    owners: dict[Path, str] = {}
    for host, images in touched.items():
        for image in images:
            # Hosts may run at once (-j), and each would hold the image's lock against the other.
            first = owners.setdefault(image, host)
            if first != host:
                raise Refused.named(
                    "image-twice",
                    "{image} would be worked on by {first} and by {second} at once",
                    "both are hosts of the play '{play}'",
                    "name it once; nothing has been touched",
                    {"image": image, "first": first, "second": host, "play": play},
                )


class Preflight:
    """A look at one play on one host.

    `made` are files that will be there by then, `given` names that earlier plays will have
    registered.
    """

    def __init__(self, context: PlayContext, made: set[Path], given: Iterable[str]) -> None:
        self._context, self._made = context, made
        self._files = context.files({})
        self._tasks = tasks = [task for _, task in context.tasks]
        # Names whose values only a run gives. What depends on one of them cannot be judged yet.
        self._later = {*given_by(tasks), *given}
        # A name that one task takes as optional (`default`, `is defined`) is so in all of them.
        self._optional = {name for task in tasks for _, names in _names(task) for name in names}

    def touched_images(self) -> list[Path]:
        """As far as they are known. bad-file, template-failed or a UsageError, naming the place."""
        whole = self._context.on_failure({}, self._files) == "play"
        images: dict[Path, None] = {}
        for task in self._tasks:
            scope = self._context.scope_of(task, {}, self._files)
            control = task.loop_control
            loop = {control.loop_var, control.index_var} - {""} if task.loop is not None else set()
            self._refuse_unknown(task, scope, loop)
            try:
                # Options of a task that is skipped are not looked at: its image need not be there.
                if not self._is_skipped(task, scope, loop):
                    if whole:
                        self._refuse_running(task, scope)
                    images.update(dict.fromkeys(self._options(task, scope, loop)))
            except GrowdiskError as error:
                if task.no_log:
                    raise _without_values(error, task) from None
                raise
        return list(images)

    def _refuse_unknown(self, task: Task, scope: TaskVariables, loop: set[str]) -> None:
        for names, _ in _names(task):
            for name in sorted(names - self._later - loop - self._optional):
                if name not in scope:
                    raise _unknown_name(name, task, scope, self._context)

    def _is_skipped(self, task: Task, scope: TaskVariables, loop: set[str]) -> bool:
        known = [
            condition
            for condition in task.when
            if not self._depends_on_results(condition, loop, expression=True)
        ]
        # All must hold: one that is known to be false is enough, whatever the later ones say.
        return not scope.are_true(known, task.place)

    def _options(self, task: Task, scope: TaskVariables, loop: set[str]) -> Iterator[Path]:
        """The images that it touches."""
        for option, value in task.options.items():
            # perform() checks it when its turn comes.
            if any(self._depends_on_results(text, loop) for text in templates_in(value)):
                continue
            found = scope.render(value, task.place_of(option))
            # Ansible's own tasks were checked when the playbook was read (loader.py).
            if task.spec is None or found is OMIT:
                continue
            try:
                check_option(task.spec, option, found)
            except GrowdiskError as error:
                hint = error.what_to_do
                raise bad_file(error.what, task.place_of(option), error.why, hint) from error
            yield from self._touched(task.spec, task, option, found)

    def _refuse_running(self, task: Task, scope: TaskVariables) -> None:
        """The image of a running guest has no snapshot of ours before the play."""
        if not task.action.startswith(f"{NAMESPACE}.expand"):
            return
        for option in {"domain", "qmp"} & task.options.keys():
            if scope.render(task.options[option], task.place_of(option)) is not OMIT:
                problem = "a play on a running guest cannot be taken back whole"
                hint = f"{ON_FAILURE}: task takes back what a failed task did"
                raise bad_file(problem, task.place_of(option), f"{ON_FAILURE} is play", hint)

    def _touched(self, spec: TaskSpec, task: Task, option: str, value: object) -> Iterator[Path]:
        if option not in (*_READ, "dest") or not value:
            return
        path = Path(os.path.realpath(path_of(value)))
        if option == spec.creates:
            # Later tasks, of later plays too, may name what this one makes.
            self._made.add(path)
        elif option in _READ and not path.exists() and path not in self._made:
            host = self._context.host
            whose = f"it is that of {host.name}: " if host.groups else ""
            hint = f"{whose}check the path; nothing has been touched"
            raise bad_file(f"there is no image {value}", task.place_of(option), hint=hint)
        # It touches what it may write: not a base, and not what convert reads. A `dest` counts.
        reads = option == "base" or (spec.name == "convert" and option == "image")
        if spec.writes and not reads:
            yield path

    def _depends_on_results(self, text: str, loop: set[str], *, expression: bool = False) -> bool:
        """Also by way of a variable that is made of such a result."""
        return bool(self._names_behind(text, expression=expression) & (self._later | loop))

    def _names_behind(self, text: str, *, expression: bool = False) -> set[str]:
        found: set[str] = set()
        names, _ = sandbox().names_in(text, expression=expression)
        variables = {
            **self._context.host.vars,
            **self._context.play.vars,
            **self._files,
            **self._context.request.extra,
        }
        # Variables are made of variables: followed until no new name is found.
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                for inner in templates_in(variables.get(name)):
                    waiting += sandbox().names_in(inner)[0]
        return found


def _without_values(error: GrowdiskError, task: Task) -> GrowdiskError:
    """What is wrong with a task with no_log: where, and no value."""
    place: YamlPosition | str = getattr(error, "place", task.place)
    if error_id(error) == "template-failed":
        return template_failed(place, NOT_SHOWN, NOT_SHOWN, SHOW_IT)
    return bad_file(f"task '{task.name}' cannot be done", place, reason=NOT_SHOWN, hint=SHOW_IT)


def _names(task: Task) -> Iterator[tuple[set[str], set[str]]]:
    """The names that its expressions ask for, and those of them that may be missing."""
    own = {task.register} if task.register else set()
    for text in templates_in([dict(task.options), dict(task.vars), task.loop, task.name]):
        yield sandbox().names_in(text)
    conditions = (
        *task.when,
        *(task.failed_when or ()),
        *(task.changed_when or ()),
        *_conditions_in(task),
    )
    for condition in conditions:
        names, optional = sandbox().names_in(condition, expression=True)
        # Conditions on its result are judged when the task is done: `register` is there by then.
        yield names - own, optional


def _conditions_in(task: Task) -> Iterator[str]:
    that = task.options.get("that", ())
    if task.action.endswith("builtin.assert"):
        yield from (str(assertion) for assertion in (that if isinstance(that, list) else [that]))
    if task.action.endswith("builtin.debug") and "var" in task.options:
        yield str(task.options["var"])


def given_by(tasks: Sequence[Task]) -> Iterator[str]:
    """Names that are there only when tasks have run."""
    for task in tasks:
        if task.register:
            yield task.register
        if task.action.endswith(".set_fact"):
            yield from task.options
        if task.action == f"{NAMESPACE}.facts":
            yield "growdisk_disk"


def _unknown_name(name: str, task: Task, scope: TaskVariables, context: PlayContext) -> Refused:
    known = [*context.play.vars, *context.host.vars, *context.request.extra, "inventory_hostname"]
    hint = suggestion(name, known, f"give it with -e {name}=VALUE, or in the inventory")
    place: YamlPosition = task.place
    for option, value in task.options.items():
        if any(name in sandbox().names_in(text)[0] for text in templates_in(value)):
            place = task.place_of(option)
    reason = f"'{name}' is undefined for {context.host.name}"
    return template_failed(place, name, reason, hint)

"""The hosts of a play, each with the variables that its tasks see.

A host is an image by path or glob, a machine of libvirt, or a host of an inventory, which may be
named by its group. Variables are in Ansible's order of precedence:
inventory < play < vars_files < task < registered and set_fact < -e
"""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from growdisk import api
from growdisk.errors import UsageError, bad_value
from growdisk.fast_dataclass import dataclass
from growdisk.given_file import given_path
from growdisk.host.yaml_reader import YamlPosition, bad_file
from growdisk.playbook.expressions import TaskVariables
from growdisk.playbook.inventory import LOCAL, Inventory
from growdisk.playbook.keywords import ON_FAILURE, ON_FAILURE_CHOICES
from growdisk.playbook.model import Play, Playbook, Request, Task, Vars
from growdisk.playbook.vars_files import file_vars
from growdisk.suggestions import suggestion

_DOMAIN = "domain:"
_IMAGES = (".qcow2", ".qcow", ".raw", ".img")
_NARROWING = ("!", "&")
_GLOB = r"[*?\[]"


@dataclass(frozen=True)
class Host:
    """`vars` are those of the inventory; an image's path is one of them. `groups` are names."""

    name: str
    vars: Vars
    groups: tuple[str, ...] = ()


def hosts_of(play: Play, request: Request, inventory: Inventory) -> list[Host]:
    """In the order in which they are named, each once.

    bad-file if nothing is meant; --limit is applied.
    """
    # hosts: may be an expression. No host is known yet, so it sees no variables of one.
    scope = TaskVariables(
        (play.vars, request.extra), {"groups": {k: list(v) for k, v in inventory.groups.items()}}
    )
    found: dict[str, Host] = {}
    narrowing: list[str] = []
    for written in play.hosts:
        pattern = scope.render(written, play.place)
        for word in pattern if isinstance(pattern, list) else [pattern]:
            narrowing += _add(str(word), found, inventory, scope, play.place)
    if narrowing and not found:
        # As Ansible: who only leaves out means all others.
        _add("all", found, inventory, scope, play.place)
    left = _narrowed(found, narrowing, inventory)
    return [host for host in left if _within(host, request.limit)]


def _add(
    pattern: str,
    found: dict[str, Host],
    inventory: Inventory,
    scope: TaskVariables,
    place: YamlPosition,
) -> list[str]:
    """Add what the pattern names; returns its words that only leave out (!) or require (&)."""
    narrowing: list[str] = []
    if pattern.startswith(_DOMAIN):
        machine = _machine(pattern.removeprefix(_DOMAIN), scope, place)
        found.setdefault(pattern, Host(pattern, machine))
    # A list of images; but a file may have a comma in its own name.
    elif _is_path(pattern, inventory) and "," in pattern and not Path(pattern).exists():
        for word in filter(None, (word.strip() for word in pattern.split(","))):
            narrowing += _add(word, found, inventory, scope, place)
    elif _is_path(pattern, inventory):
        for path in _images(pattern, place):
            found.setdefault(path, Host(path, {"image": path}))
    else:
        words = [word for word in map(str.strip, re.split(r"[,:]", pattern)) if word]
        narrowing = [word for word in words if word.startswith(_NARROWING)]
        for name in _chosen([word for word in words if word not in narrowing], inventory, place):
            # Only localhost may be in no inventory.
            known = inventory.hosts.get(name, inventory.local)
            found.setdefault(name, Host(name, known, tuple(inventory.groups_of(name))))
    return narrowing


def _machine(name: str, scope: TaskVariables, place: YamlPosition) -> dict[str, object]:
    """Its variables: the name that libvirt knows it by, and its image if it has one disk."""
    from growdisk.api.live_request import LiveRequest
    from growdisk.api.live_target import DiskNotSaid

    uri = str(scope.render("{{ connect }}", place)) if "connect" in scope else None
    disk = str(scope.render("{{ disk }}", place)) if "disk" in scope else ""
    request = LiveRequest(domain=name, uri=uri, disk=disk)
    try:
        return {"domain": name, "image": str(api.image_of(request))}
    # It has several disks: tasks name one, or fail and say so.
    except DiskNotSaid:
        return {"domain": name}


def _is_path(pattern: str, inventory: Inventory) -> bool:
    if pattern in inventory.hosts or pattern in inventory.groups:
        return False
    return "/" in pattern or pattern.endswith(_IMAGES) or Path(pattern).is_file()


def _images(pattern: str, place: YamlPosition) -> Iterator[str]:
    path = given_path(pattern)
    # A file may be called web[1].qcow2: it is meant if it is there.
    if not re.search(_GLOB, pattern) or path.exists():
        if not path.exists():
            raise bad_file(f"there is no image {pattern}", place=place, hint="check the path")
        yield str(path)
        return
    # Sorted: --resume compares the hosts with those of the first time, in order.
    matching = sorted(name for name in glob.glob(str(path)) if not Path(name).is_dir())  # noqa: PTH207  absolute or not
    if not matching:
        problem = f"no image matches {pattern}"
        raise bad_file(problem, place, hint="check the pattern; nothing has been touched")
    yield from matching


def _chosen(words: Sequence[str], inventory: Inventory, place: YamlPosition) -> Iterator[str]:
    for word in words:
        # A host's own name means it alone, even if a group is called like it.
        names = [word] if word in inventory.hosts else _matching(word, inventory)
        if not names:
            raise _nobody(word, inventory, place)
        yield from names


def _narrowed(
    found: Mapping[str, Host], words: Sequence[str], inventory: Inventory
) -> Iterator[Host]:
    """Without what a !word leaves out, or a &word does not name; images and machines stay."""
    # To leave out or to require what is not there is no mistake: `web*:!old` may have no old.
    said = [(word[0], _matching(word[1:], inventory)) for word in words]
    for name, host in found.items():
        of_inventory = name in inventory.hosts or name == LOCAL
        if not of_inventory or all((name in names) == (sign == "&") for sign, names in said):
            yield host


def _matching(word: str, inventory: Inventory) -> list[str]:
    groups: Mapping[str, Sequence[str]] = inventory.groups
    # Dicts instead of sets here and below: the order in which hosts are named is kept.
    found = dict.fromkeys(name for group in fnmatch.filter(groups, word) for name in groups[group])
    found.update(dict.fromkeys(fnmatch.filter(inventory.hosts, word)))
    if word == LOCAL and not found:
        found[LOCAL] = None  # there without being named, as with Ansible
    return list(found)


def _nobody(word: str, inventory: Inventory, place: YamlPosition) -> UsageError:
    known = [*inventory.groups, *inventory.hosts]
    if known == ["all"] or not known:
        hint = "name images by path or glob, domain:NAME, or give an inventory with -i; for the "
        hint += "playbooks that come with growdisk: -e target='images/*.qcow2'"
    else:
        hint = suggestion(word, known, f"the inventory has: {', '.join(known[:20])}")
    return bad_file(f"there is no host or group '{word}'", place=place, hint=hint)


def _within(host: Host, limit: str) -> bool:
    # A colon may be part of a name (domain:web01): before ! and & it always divides.
    words = [word for word in map(str.strip, re.split(r",|:(?=[!&])", limit)) if word]
    # An image's host is called by its path: -l web01.qcow2 should find it in any folder.
    names = (host.name, Path(host.name).name, *host.groups)
    taken = [word for word in words if not word.startswith(_NARROWING)]
    # As Ansible, web:db is both; a name with a colon is meant as a whole too.
    taken += [part for word in taken for part in re.split(r"(?<!^domain):", word)]
    wanted = not taken or any(_names_one(word, names) for word in taken)
    return wanted and all(
        _names_one(word[1:], names) == (word[0] == "&")
        for word in words
        if word.startswith(_NARROWING)
    )


def _names_one(word: str, names: Sequence[str]) -> bool:
    return word == "all" or any(fnmatch.fnmatch(name, word) for name in names)


@dataclass(frozen=True)
class PlayContext:
    """One play on one host: where its variables come from.

    `number` counts the playbook's plays from 0.
    """

    request: Request
    playbook: Playbook
    play: Play
    number: int
    host: Host
    inventory: Inventory

    def magic(self) -> dict[str, object]:
        """What Ansible calls magic variables."""
        folder = str(self.playbook.path.parent.resolve())
        return {
            "inventory_hostname": self.host.name,
            "inventory_hostname_short": self.host.name.split(".")[0],
            "group_names": list(self.host.groups),
            "playbook_dir": folder,
            "groups": {name: list(hosts) for name, hosts in self.inventory.groups.items()},
            "hostvars": {**self.inventory.hosts, self.host.name: self.host.vars},
            "ansible_check_mode": self.request.check,
            "ansible_diff_mode": self.request.diff,
        }

    def scope_of(
        self, task: Task | None, facts: Mapping[str, object], files: Vars
    ) -> TaskVariables:
        """`facts` are what tasks before have registered or set."""
        extra = self.request.extra
        # -e wins even over results, which otherwise win over all layers below.
        known = {name: value for name, value in facts.items() if name not in extra}
        layers = (self.host.vars, self.play.vars, files, task.vars if task else {}, extra)
        # Last, so that no variable can take the place of inventory_hostname and the like.
        return TaskVariables(layers, {**known, **self.magic()})

    def files(self, facts: Mapping[str, object]) -> dict[str, object]:
        """The variables of vars_files, which count from the playbook's folder. bad-file."""
        found: dict[str, object] = {}
        for written, place in self.play.vars_files:
            name = str(self.scope_of(None, facts, found).render(written, place))
            path = given_path(name)
            # A later file may be named by a variable of an earlier one.
            found |= file_vars(path if path.is_absolute() else self.playbook.path.parent / path)
        return found

    @property
    def tasks(self) -> list[tuple[int, Task]]:
        """Those that tags leave, with their numbers in the play."""
        return [(n, t) for n, t in enumerate(self.play.tasks) if self.request.takes(t)]

    def on_failure(self, facts: Mapping[str, object], files: Vars) -> str:
        """task, play or none. UsageError elsewhere."""
        scope = self.scope_of(None, facts, files)
        if ON_FAILURE not in scope:
            return ON_FAILURE_CHOICES[0]
        word = str(scope.render("{{ " + ON_FAILURE + " }}", self.play.place))
        if word not in ON_FAILURE_CHOICES:
            problem = f"{ON_FAILURE} cannot be '{word}'"
            hint = f"choose one of {', '.join(ON_FAILURE_CHOICES)}"
            raise bad_value(problem, ON_FAILURE, word, hint, choices=ON_FAILURE_CHOICES)
        return word

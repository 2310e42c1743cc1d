"""The variables that a task sees, in Ansible's order of precedence.

inventory < play < vars_files < task < registered and set_fact < -e
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growdisk.errors import bad_value
from growdisk.fast_dataclass import dataclass
from growdisk.playbook.expressions import TaskVariables
from growdisk.playbook.hosts import Host
from growdisk.playbook.inventory import Inventory
from growdisk.playbook.keywords import HOW_FAR_BACK, ON_FAILURE
from growdisk.playbook.model import Play, Playbook, Task, Vars
from growdisk.playbook.request import Request
from growdisk.playbook.vars_folders import file_vars


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

    def scope(self, facts: Mapping[str, object]) -> TaskVariables:
        """What the play's own variables see."""
        return self.scope_of(None, facts, self.files(facts))

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
        """The variables of vars_files, which lie beside the playbook. bad-file."""
        found: dict[str, object] = {}
        for written, place in self.play.vars_files:
            name = str(self.scope_of(None, facts, found).render(written, place))
            path = Path(name).expanduser()
            # A later file may be named by a variable of an earlier one.
            found |= file_vars(path if path.is_absolute() else self.playbook.path.parent / path)
        return found

    def how_far_back(self, scope: TaskVariables) -> str:
        """task, play or none. UsageError elsewhere."""
        if ON_FAILURE not in scope:
            return HOW_FAR_BACK[0]
        word = str(scope.render("{{ " + ON_FAILURE + " }}", self.play.place))
        if word not in HOW_FAR_BACK:
            raise bad_value(
                f"{ON_FAILURE} cannot be '{word}'",
                ON_FAILURE,
                word,
                hint=f"choose one of {', '.join(HOW_FAR_BACK)}",
                choices=HOW_FAR_BACK,
            )
        return word

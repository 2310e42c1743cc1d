"""Inventories mean what ansible-inventory and ansible make of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.host.yaml_reader import YamlPosition
from growdisk.playbook.hosts import hosts_of
from growdisk.playbook.inventory import read_inventories
from growdisk.playbook.model import Play, Request
from tests.ansible.playing import Ansible

A = """\
[web:children]
inner
[inner]
h1 said_by=a_host
[east]
h1
[bare]
h2
[web:vars]
inline=a_web
only_all=a_web
[all:vars]
everywhere=a_all
[aaa]
h1
[aaa:vars]
equal=aaa
ansible_group_priority=5
[zzz]
h1
[zzz:vars]
equal=zzz
"""
B = """\
[inner]
h1 said_by=b_host
[web:vars]
inline=b_web
of_web=b_web
"""
FILES = {
    **{
        f"{folder}/group_vars/{group}.yml": f"of_{group}: {folder}\nlast: {folder}/{group}\n"
        for folder in ("a", "b")
        for group in ("all", "web", "east", "inner")
    },
    "a/hosts": A,
    "b/hosts": B,
    "a/group_vars/all.yml": "of_all: a\nonly_all: a_file\n",
    "play/group_vars/all.yml": "of_all: play\nlast: play\n",
    "a/host_vars/h1.yml": "host_file: a\n",
    "b/host_vars/h1.yml": "host_file: b\n",
    # A folder counts instead of the file beside it, and so does a file without a suffix.
    "a/group_vars/web/first.yml": "from_folder: 1\n",
    "a/group_vars/web/second/third.json": '{"from_folder": 2}',
    "a/group_vars/web/.hidden.yml": "hidden: true\n",
    "b/group_vars/web": "no_suffix: true\n",
}


@pytest.fixture
def controller(tmp_path: Path) -> Ansible:
    """Without the collection: only inventories are read."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Ansible(tmp_path, tmp_path)


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")], ids=" ".join)
@pytest.mark.parametrize("host", ["h1", "h2", "localhost"])
def test_variables_have_the_precedence_of_ansible(
    controller: Ansible, names: tuple[str, str], host: str
) -> None:
    sources = [str(controller.home / name / "hosts") for name in names]
    words = [word for source in sources for word in ("-i", source)]
    argv = ("ansible-inventory", *words, "--playbook-dir", "play", "--host", host)
    judged = json.loads(controller.run(*argv).stdout)
    inventory = read_inventories(sources, controller.home / "play")
    ours = dict(inventory.hosts.get(host, inventory.local))
    judged = {key: value for key, value in judged.items() if not key.startswith("ansible_")}
    assert ours == judged


MANY = """\
[guests]
web01
web02
web03
db1
[east]
web02
web03
alone
[alone]
other
"""
PATTERNS = [
    ("!web03:guests", ""), ("guests:!web03", ""), ("&east:guests", ""), ("!web*", ""),
    ("&east", ""), ("web*,db1,&guests", ""), ("!nobody", ""), ("alone", ""), ("!all", ""),
    ("localhost:!web01", ""), ("all:&localhost", ""), (["guests", "!web03"], ""),
    (["&east", "guests"], ""), ("all", "guests:!web03"), ("all", "&east"), ("guests", "&east,web*"),
    ("all", "!web*"), ("guests", "all:!web01"), ("all", "east:db1"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "limit"), PATTERNS, ids=str)
def test_patterns_name_the_hosts_that_ansible_takes(
    controller: Ansible, pattern: str | list[str], limit: str
) -> None:
    source = controller.home / "many"
    source.write_text(MANY)
    words = [pattern] if isinstance(pattern, str) else pattern
    playbook = controller.home / "hosts.yml"
    playbook.write_text(json.dumps([{"hosts": words, "gather_facts": False, "tasks": []}]))
    limited = ("-l", limit) if limit else ()
    listed = controller.run("ansible-playbook", "-i", source, *limited, "--list-hosts", playbook)
    judged = [line.strip() for line in listed.stdout.partition("hosts (")[2].splitlines()[1:]]
    play = Play("", tuple(words), YamlPosition("hosts.yml", 1, 1), (), {})
    inventory = read_inventories([str(source)], controller.home)
    ours = hosts_of(play, Request(playbook, limit=limit), inventory)
    # --list-hosts gives them in no order.
    assert sorted(host.name for host in ours) == sorted(name for name in judged if name)

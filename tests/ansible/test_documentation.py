"""ansible-doc's options of the modules are growdisk's, and its examples are valid."""

from __future__ import annotations

import ast
import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
import yaml

from growdisk import __version__
from growdisk.playbook.options import typed
from growdisk.playbook.specs import TASKS
from tests.ansible.playing import ROOT, SHIPPED, Ansible, Document

SOURCES = SHIPPED / "collection"
MODULES = sorted(path.stem for path in (SOURCES / "plugins/modules").glob("*.py"))
_RULES = ("type", "required", "default", "choices", "elements")


@pytest.fixture(scope="module")
def documented(collections: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """What ansible-doc has on each module, fragments and all; fails where it cannot show one."""
    ansible = Ansible(tmp_path_factory.mktemp("doc"), collections)
    done = ansible.run("ansible-doc", "-j", *(f"growdisk.disk.{name}" for name in MODULES))
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr and "WARNING" not in done.stderr, done.stderr
    return {
        name.removeprefix("growdisk.disk."): found
        for name, found in json.loads(done.stdout).items()
    }


def test_every_task_has_a_module_and_every_module_is_a_task() -> None:
    assert sorted(TASKS) == MODULES


def test_ansible_doc_shows_every_module_as_text(ansible: Ansible) -> None:
    done = ansible.run("ansible-doc", "--list", "growdisk.disk")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        f"growdisk.disk.{name}" for name in MODULES
    ]
    shown = ansible.run("ansible-doc", *(f"growdisk.disk.{name}" for name in MODULES))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("RETURN VALUES:") == shown.stdout.count("EXAMPLES:") == len(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_documentation_agrees_with_what_growdisk_takes(
    name: str, documented: dict[str, Document]
) -> None:
    doc = cast("Document", documented[name]["doc"])
    options = cast("dict[str, Document]", doc["options"])
    said = {
        option: {rule: rules[rule] for rule in _RULES if rules.get(rule)}
        for option, rules in options.items()
    }
    declared = task_file().argument_spec(TASKS[name])
    taken = {
        option: {rule: rules[rule] for rule in _RULES if rules.get(rule)}
        for option, rules in declared.items()
    }
    assert said == taken
    assert cast("Document", cast("Document", doc["attributes"])["check_mode"])["support"] == "full"


@pytest.mark.parametrize("name", MODULES)
def test_each_option_is_described_as_in_growdisk_itself(
    name: str, documented: dict[str, Document]
) -> None:
    options = cast("dict[str, Document]", cast("Document", documented[name]["doc"])["options"])
    first = {
        option: cast("list[str]", rules["description"])[0] for option, rules in options.items()
    }
    assert first == {option.name: option.description for option in TASKS[name].options}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_tasks_that_growdisk_would_take(
    name: str, documented: dict[str, Document]
) -> None:
    examples = yaml.safe_load(cast("str", documented[name]["examples"]))
    used = set()
    for example in examples:
        for key in (key for key in example if key.startswith("growdisk.disk.")):
            spec = TASKS[key.removeprefix("growdisk.disk.")]
            used.add(spec.name)
            templated = {option for option, value in example[key].items() if "{{" in str(value)}
            assert templated <= {option.name for option in spec.options}
            plain = {
                option: value for option, value in example[key].items() if option not in templated
            }
            missing = {
                option.name: "0"
                for option in spec.options
                if option.required and option.name in templated
            }
            typed(
                spec,
                {
                    **plain,
                    **{
                        option: [] if option == "swaps" else value
                        for option, value in missing.items()
                    },
                },
            )
    assert name in used


@pytest.mark.parametrize("name", MODULES)
def test_each_module_carries_out_the_task_of_its_name_and_nothing_else(name: str) -> None:
    tree = ast.parse((SOURCES / f"plugins/modules/{name}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls] == [f"carry_out('{name}')"]


def test_the_collection_has_the_version_of_growdisk() -> None:
    assert yaml.safe_load((SOURCES / "galaxy.yml").read_text())["version"] == __version__


def test_growdisk_itself_knows_nothing_of_ansible() -> None:
    names = [
        alias.name
        for file in (ROOT / "growdisk").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (
            [ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) else node.names
        )
    ]
    assert [name for name in names if name.startswith("ansible")] == []


@cache
def task_file() -> ModuleType:
    """The file that all modules call."""
    spec = importlib.util.spec_from_file_location(
        "growdisk_disk_task", SOURCES / "plugins/module_utils/task.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

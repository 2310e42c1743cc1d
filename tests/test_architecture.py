"""House rules that would otherwise have to be trusted: floors, importers, cycles, lengths."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "growdisk"
FLOORS = (
    {
        "__init__", "errors", "error_document", "units", "durable", "fast_dataclass",
        "fast_imports", "given_file", "suggestions", "tool_words",
    },
    {"block"},
    {"qcow2", "partitions", "filesystems"},
    {"host"},
    {"guest_config", "volumes", "storage", "workflow"},
    {"guest_systems", "guest_scripts", "live"},
    {"backends"},
    {"steps"},
    {"planner"},
    {"api"},
    {"playbook"},
    {"cli"},
)  # fmt: skip
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MAX_LINES = 400


@cache
def syntax(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    """All of its syntax, walked once for all rules."""
    return tuple(ast.walk(syntax(file)))


@cache
def files() -> dict[str, Path]:
    """The house's files by module name."""
    return {module_name(file): file for file in sorted(HOUSE.rglob("*.py"))}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return (*module.split("."), "__init__")[1]


def imports(found: Iterable[ast.AST]) -> Iterator[str]:
    """Every module that is imported; `from a import b` gives a and a.b, as b may be a module."""
    for node in found:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(file: Path) -> set[str]:
    """The modules of the house that `file` imports."""
    return {name for name in imports(nodes(file)) if name in files() and name != "growdisk"}


def test_what_a_machine_may_lack_is_loaded_where_it_is_used() -> None:
    """Python's modules of libvirt and libguestfs are not needed for other work."""
    at_once = {name: set(imports(syntax(file).body)) for name, file in files().items()}
    lacking = {"growdisk.live.libvirt_domain", "growdisk.backends.guestfs"}
    while more := {name for name, loaded in at_once.items() if loaded & lacking} - lacking:
        lacking |= more
    assert lacking == {
        "growdisk.live.libvirt_domain",
        "growdisk.backends.guestfs",
    }


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in files()} <= FLOOR.keys()


def test_a_room_imports_only_rooms_on_lower_floors() -> None:
    upward = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files().values()
        for name in own_imports(file)
        if room(name) != room(module_name(file))
        and FLOOR[room(name)] >= max(1, FLOOR[room(module_name(file))])
    ]
    assert upward == []


def test_imports_are_absolute() -> None:
    relative = [
        node for file in files().values() for node in nodes(file) if getattr(node, "level", 0)
    ]
    assert relative == []


def test_modules_import_each_other_without_a_cycle() -> None:
    """Not for types either."""
    order = TopologicalSorter({name: own_imports(file) - {name} for name, file in files().items()})
    order.prepare()  # raises CycleError, which names the modules


def test_each_foreign_library_is_imported_in_exactly_one_file() -> None:
    importers: dict[str, set[str]] = defaultdict(set)
    for file in files().values():
        for name in (
            {name.split(".")[0] for name in imports(nodes(file))}
            - sys.stdlib_module_names
            - {"growdisk"}
        ):
            importers[name].add(module_name(file))
    assert {name: sorted(where) for name, where in importers.items() if len(where) > 1} == {}


def test_only_the_output_file_prints() -> None:
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files().values()
        for node in nodes(file)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert [call for call in calls if not call.startswith("growdisk/cli/output.py:")] == []


def test_no_file_becomes_the_program() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files().values()
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_a_docstring_begins_with_one_line_that_says_it_all() -> None:
    """PEP 257's summary line: what help(), an editor or a list of functions shows."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    broken = [
        f"{name}: {text.splitlines()[0]}"
        for name, file in files().items()
        for node in nodes(file)
        if isinstance(node, documented)
        and (text := ast.get_docstring(node))
        and "\n" in text.partition("\n\n")[0]
    ]
    assert broken == []


def test_there_is_one_dataclass() -> None:
    """fast_dataclass.py says why.

    The first program of a user-mode kernel has the standard library alone.
    """
    theirs = {"dataclasses": {"dataclass", "field", "replace"}, "typing": {"NamedTuple"}}
    users = [
        str(file.relative_to(ROOT))
        for file in files().values()
        for node in nodes(file)
        if isinstance(node, ast.ImportFrom)
        and {a.name for a in node.names} & theirs.get(node.module or "", set())
    ]
    assert set(users) <= {"growdisk/fast_dataclass.py", "growdisk/backends/uml_agent.py"}


def test_every_error_is_documented_as_it_is() -> None:
    """In a process of its own, which imports all of growdisk and no tests with their errors."""
    code = (
        "from setup.error_ids import *; import sys; sys.stdout.write(with_table(PAGE.read_text()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    missing = set(done.stdout.splitlines()) ^ set((ROOT / "docs/json.md").read_text().splitlines())
    assert missing == set(), "run this: .venv/bin/python setup/error_ids.py"
    ids = [
        line.split("`")[1]
        for line in done.stdout.splitlines()
        if line.startswith("| `") and line.count("|") == 5
    ]
    assert len(ids) == len(set(ids)) > 100, (
        "two errors with one id could not be told apart by a script"
    )


def test_the_checker_shares_no_arithmetic_with_the_writer() -> None:
    """What it finds counts for something only if the writer's mistakes are not its own.

    What it shares are names of numbers in the file: fields, bits of entries and of features, types
    of header extensions.
    """
    shared = {f"growdisk.qcow2.{name}" for name in ("entries", "features", "header")}
    checker = [name for name in files() if name.startswith("growdisk.qcow2.check.")]
    borrowed = {
        (name, other)
        for name in checker
        for other in own_imports(files()[name])
        if other.startswith("growdisk.qcow2.")
        and not other.startswith("growdisk.qcow2.check")
        and other not in shared
    }
    assert checker and borrowed == set()


def test_no_test_module_imports_from_another() -> None:
    """What several need lies in a module of helpers, and is run in no test by accident."""
    lenders = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for name in imports(nodes(file))
        if name.startswith("tests.") and name.rsplit(".", 1)[1].startswith("test_")
    ]
    assert lenders == []


def test_the_planner_looks_nothing_up() -> None:
    """It decides by facts: api/disk_facts.py, api/guest_look.py, and HostTools for the machine."""
    readers = (
        "block", "qcow2.image", "volumes.inspect", "volumes.keyring", "volumes.lvm",
        "guest_systems", "api", "host.command", "storage.device", "live.qmp",
        "backends.available", "backends.doctor",
        "filesystems.identify", "filesystems.ext_tree", "partitions.sectors",
    )  # fmt: skip
    planner = [name for name in files() if room(name) == "planner"]
    looked_up = {
        (name, other)
        for name in planner
        for other in own_imports(files()[name])
        if other.startswith(tuple(f"growdisk.{reader}" for reader in readers))
    }
    assert planner and looked_up == set()


def test_planning_loads_no_code_that_could_look_anything_up() -> None:
    """In a process of its own: what the planner imports imports nothing of that kind either."""
    planner = [name for name in files() if room(name) == "planner"]
    code = f"import sys, {', '.join(planner)}; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    # Of the rooms that read, write or start something, these have values and pure functions alone.
    pure = {
        "block.device", "block.window", "guest_scripts.script_plan", "host.json_codec",
        "live.live_disk", "storage.values", "volumes.luks2_json",
    }  # fmt: skip
    rooms_that_act = {
        "api", "backends", "block", "guest_scripts", "guest_systems", "host", "live", "qcow2",
        "storage", "volumes",
    }  # fmt: skip
    own = {name.removeprefix("growdisk.") for name in loaded if name.startswith("growdisk.")}
    acting = {name for name in own if "." in name and name.split(".")[0] in rooms_that_act}
    assert acting == pure
    assert not own & {"filesystems.identify", "filesystems.ext_tree", "partitions.sectors"}
    assert not loaded & {"ctypes", "fcntl", "socket", "subprocess", "tempfile"}


def test_what_is_done_for_a_quick_start_is_where_the_design_page_says() -> None:
    """A stand-in for a module, or an end without cleaning up, is a trap if not expected."""
    tricks = ("sys.modules[", "os._exit(", "gc.set_threshold(", "sys.meta_path")
    places = {
        str(file.relative_to(ROOT))
        for file in files().values()
        if any(t in file.read_text() for t in tricks)
    }
    in_the_guest = {"growdisk/backends/uml_agent.py"}  # a process that was forked ends so
    assert places - in_the_guest == {"growdisk/cli/start.py", "growdisk/fast_imports.py"}
    page = (ROOT / "docs" / "design.md").read_text()
    assert all(place in page for place in (*places - in_the_guest, "growdisk/fast_dataclass.py"))

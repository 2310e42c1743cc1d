"""A command line and a task with the same values make the same goal, and name options their way."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.api.live_request import LiveRequest, target_of
from growdisk.cli import arguments, targets
from growdisk.cli.expand import _as_given
from growdisk.cli.parser import parsed
from growdisk.errors import UsageError
from growdisk.planner.given_values import goal_of, run_options_of
from growdisk.playbook.as_playbook import running_playbook
from growdisk.playbook.options import Options, typed
from growdisk.playbook.specs import TASKS
from tests.unit.cli.command import in_process

EXPAND = TASKS["expand"]


def options(**given: object) -> Options:
    return typed(EXPAND, {"image": "a.qcow2", **given})


GIVEN: dict[str, object] = {
    "size": "+10G", "partition": "sda1", "swap": "file", "preallocation": "falloc",
    "lv": ["vg/root", "vg/home=60%"], "lv_share": "50%", "sector_size": 4096, "to_gpt": True,
    "move": [3, 2], "delete": [5, 5], "guest_repair": False, "when_used": "85%",
    "max_size": "200G", "min_interval": "1h", "keep_host_free": "10%", "backend": "uml",
    "snapshots": "overlay", "keep_snapshots": True, "not_in_use": True, "overlays_may_break": True,
    "format": "qcow2",
}  # fmt: skip
WORDS = (
    "expand a.qcow2 +10G --partition sda1 --swap file --preallocation falloc --lv vg/root "
    "--lv vg/home=60% --lv-share 50% --sector-size 4096 --to-gpt --move 3 --move 2 --delete 5 "
    "--delete 5 --no-guest-repair --when-used 85% --max-size 200G --min-interval 1h "
    "--keep-host-free 10% --backend uml --snapshots overlay --keep-snapshots --not-in-use "
    "--overlays-may-break --format qcow2"
)


def test_both_make_the_same_goal_and_run_options(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"secret\n")
    words, task = parsed([*WORDS.split(), "--key-file", str(key)]), options(**GIVEN, key_file=[key])
    assert arguments.goal_of(words) == goal_of(task)
    how = run_options_of(task, task.keys())
    assert arguments.options_of(words) == how and how.keys == (b"secret\n",)


def test_both_have_the_same_defaults() -> None:
    words, task = parsed(["expand", "a.qcow2"]), options()
    assert arguments.goal_of(words) == goal_of(task)
    assert arguments.options_of(words) == run_options_of(task, ())
    assert targets.target_of(words) == target_of(task) == Path("a.qcow2")


def test_both_name_the_same_running_guest() -> None:
    given = {
        "domain": "web01", "connect": "qemu:///system", "disk": "vda", "online": "ssh",
        "ssh": "root@web01", "ssh_config": "/c", "agent": "/a", "guest_disk": "/dev/vda",
        "allow_reboot": True,
    }  # fmt: skip
    words = (
        "expand -d web01 -c qemu:///system --disk vda --online ssh --ssh root@web01 "
        "--ssh-config /c --agent /a --guest-disk /dev/vda --allow-reboot"
    )
    request = target_of(typed(EXPAND, given))
    assert request == targets.target_of(parsed(words.split()))
    assert isinstance(request, LiveRequest) and request.ssh_config == Path("/c")


def test_a_task_that_lacks_an_option_has_its_default() -> None:
    goal = goal_of(typed(TASKS["commit"], {"image": "a.qcow2"}))
    assert (goal.partition, goal.sector_size, goal.repair) == ("auto", 512, True)


@pytest.mark.parametrize(
    ("words", "given", "said", "told"),
    [
        (
            ("--keep-snapshots", "--snapshots", "none"),
            {"keep_snapshots": True, "snapshots": "none"},
            "--keep-snapshots and --snapshots none exclude each other",
            "keep_snapshots and snapshots: none exclude each other",
        ),
        (
            ("-d", "a", "--qmp", "/b"),
            {"domain": "a", "qmp": "/b"},
            "--domain and --qmp exclude each other",
            "domain and qmp exclude each other",
        ),
        (("--lv-share", "x"), {"lv_share": "x"}, "read --lv-share x", "read lv_share: x"),
        (("--grow", "sda1=x%"), {"grow": "sda1=x%"}, "read --grow sda1=x%", "read grow: sda1=x%"),
        (("--lv", "vg/a=x%"), {"lv": "vg/a=x%"}, "read --lv vg/a=x%", "read lv: vg/a=x%"),
        (("--when-used", "x"), {"when_used": "x"}, "--when-used x: that", "when_used x: that"),
    ],
)
def test_each_names_an_option_as_it_is_written_there(
    words: tuple[str, ...], given: dict[str, object], said: str, told: str
) -> None:
    command = parsed(["expand", "a.qcow2", *words])
    with pytest.raises(UsageError) as line:
        targets.target_of(command), arguments.goal_of(command), arguments.options_of(command)
    task = options(**given)
    with pytest.raises(UsageError) as playbook:
        target_of(task), goal_of(task), run_options_of(task, ())
    assert said in line.value.what and told in playbook.value.what
    assert "--" not in playbook.value.what + playbook.value.what_to_do


def test_sectors_of_another_size_are_refused_in_one_place() -> None:
    with pytest.raises(UsageError) as told:
        goal_of(options(sector_size=1024))
    assert told.value.what_to_do == "sector_size: 512 or 4096"


def test_a_command_line_as_a_task_has_all_that_was_given() -> None:
    words = parsed([*WORDS.split(), "--grow", "sda1=rest", "--key-file", "k"])
    task = _as_given(words)
    absent = {"keep_snapshots"}  # a playbook keeps none when it has ended
    assert task.keys() == (GIVEN.keys() | {"image", "grow", "key_file"}) - absent
    assert task["key_file"] == [str(Path("k").resolve())] and task["guest_repair"] is False
    assert "move:\n          - 3\n" in running_playbook("web01", task)
    assert _as_given(parsed(["expand", "a.qcow2"])).keys() == {"image"}


def test_a_configuration_that_is_named_must_be_there(
    classic: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWDISK_CONFIG", str(classic.with_name("none.toml")))
    said = in_process("plan", classic, "+64M")
    assert said.code == 2 and "why:  No such file or directory" in said.err, said
    monkeypatch.setenv("GROWDISK_CONFIG", "/dev/null")
    assert in_process("plan", classic, "+64M").code == 0


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("plan a.qcow2 --swap move +1G", "size", "+1G"),
        ("provision base.qcow2 --size 1G out.qcow2", "out", "out.qcow2"),
        ("image snapshot create a.qcow2 --json before", "name", "before"),
        (
            "list a.qcow2 --sort size b.qcow2 --above 5% c.qcow2",
            "paths",
            ["a.qcow2", "b.qcow2", "c.qcow2"],
        ),
    ],
)
def test_what_may_be_left_out_may_stand_after_an_option(
    words: str, name: str, value: object
) -> None:
    assert getattr(parsed(words.split()), name) == value


@pytest.mark.parametrize(
    "words",
    ["plan a.qcow2 -q b.qcow2", "provision base.qcow2 a.qcow2 -q b.qcow2", "show a.qcow2 -q b"],
)
def test_a_word_too_many_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match=r"there (are more|is also)"):
        parsed(words.split())

"""--json: exactly one document on stdout in all cases, with the contract's keys and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from growdisk.cli.main import main
from tests.unit.cli.command import growdisk

LAYOUT = {"image", "table", "partitions", "volumes", "free", "blockers"}
IMAGE = {"path", "format", "virtual_size", "actual_size", "snapshots", "backing"}
PARTITION = {"number", "name", "start", "size", "role", "type", "bootable", "content"}
CONTENT = {"kind", "uuid", "label", "size", "used"}
ERROR = {"id", "what", "why", "do", "code", "data"}


def called(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, Any, str]:
    """Exit code, the document, stderr; in this process."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, json.loads(captured.out), captured.err


def test_show_gives_the_layout_with_the_keys_of_the_contract(
    classic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, layout, _ = called(capsys, "show", classic, "--json")
    assert code == 0
    assert set(layout) == {"schema", *LAYOUT}
    assert set(layout["image"]) == IMAGE
    assert set(layout["table"]) == {"type", "id"}
    assert [set(part) for part in layout["partitions"]] == [PARTITION] * 3
    assert [part["name"] for part in layout["partitions"]] == ["sda1", "sda2", "sda5"]
    assert [part["role"] for part in layout["partitions"]] == ["primary", "extended", "logical"]
    assert set(layout["partitions"][0]["content"]) == CONTENT
    assert layout["partitions"][1]["content"] is None
    assert layout["partitions"][2]["content"]["kind"] == "swap"
    assert set(layout["free"][0]) == {"start", "size"}
    assert [blocker["name"] for blocker in layout["blockers"]] == ["sda2", "sda5"]


def test_show_counts_bytes(classic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, layout, _ = called(capsys, "show", classic, "--json")
    root = layout["partitions"][0]
    assert layout["image"]["virtual_size"] == 128 << 20
    assert (root["start"], root["content"]["size"]) == (1 << 20, root["size"])
    assert 0 < root["content"]["used"] < root["size"]


def test_plan_has_the_keys_of_expand_and_says_planned(
    classic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, plan, _ = called(capsys, "plan", classic, "+64M", "--json")
    assert code == 0
    assert {"result", "run", "backend", "before", "after", "steps", "given_up"} <= set(plan)
    assert (plan["result"], plan["run"]) == ("planned", None)
    assert plan["backend"] in ("direct", "uml", "guestfs") and plan["backend_reason"]
    assert set(plan["before"]) == set(plan["after"]) == LAYOUT
    assert plan["after"]["image"]["virtual_size"] == 192 << 20
    assert [part["name"] for part in plan["after"]["partitions"]] == ["sda1"]
    assert [set(step) for step in plan["steps"]] == [{"name", "state", "seconds", "detail"}] * 5
    assert [step["name"] for step in plan["steps"]] == [
        "resize-image",
        "rewrite-partitions",
        "reread-partitions",
        "grow-filesystem",
        "repair-guest",
    ]
    assert plan["given_up"] == ["sda5: swap partition of 16.0 MiB"]


@pytest.mark.parametrize("words", [("-n",), ("--dry-run",)])
def test_expand_dry_run_is_plan(
    classic: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    dry = called(capsys, "expand", classic, "+64M", "--json", *words)
    assert dry == called(capsys, "plan", classic, "+64M", "--json")


@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_nothing_to_do_is_no_error(
    classic: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    code, result, _ = called(capsys, verb, classic, "128M", "--json")
    assert (code, result["result"]) == (0, "nochange")
    assert result["before"] == result["after"]


def test_status_of_an_image_without_a_run(
    classic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, status, _ = called(capsys, "status", classic, "--json")
    assert code == 0
    assert status == {"schema": 1, "state": "none", "run": None, "steps": [], "next": []}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "IMAGE.missing"), 3),
        (("plan", "IMAGE", "1M"), 3),
        (("plan", "IMAGE", "+1G", "--partition", "3"), 3),
        (("resume", "IMAGE"), 3),
        (("rollback", "IMAGE"), 3),
        (("commit", "IMAGE"), 3),
        (("plan", "IMAGE", "10GB"), 2),
        (("plan", "IMAGE", "10"), 2),
        (("plan", "IMAGE", "-5G"), 2),
        (("plan", "IMAGE", "+1G", "+2G"), 2),
        (("expand", "IMAGE", "+1G", "--keep-snapshots", "--snapshots", "none"), 2),
        (("expand", "IMAGE", "+1G", "--swap", "perhaps"), 2),
        (("plan",), 2),
        (("grow", "IMAGE"), 2),
        (("show", "IMAGE", "--colour"), 2),
        ((), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("in_front", [True, False], ids=["--json first", "--json last"])
def test_error_is_one_document_with_its_exit_code(
    classic: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    in_front: bool,
) -> None:
    named = [word.replace("IMAGE", str(classic)) for word in words]
    given, document, err = called(capsys, *(["--json", *named] if in_front else [*named, "--json"]))
    assert given == code
    assert set(document["error"]) == ERROR
    assert document["error"]["code"] == code
    assert document["error"]["what"]
    assert err.startswith(f"growdisk: {document['error']['what']}")


@pytest.mark.parametrize("word", ["-h", "--help", "--version"])
def test_even_a_text_that_is_asked_for_is_one_document(
    capsys: pytest.CaptureFixture[str], word: str
) -> None:
    code, document, err = called(capsys, "--json", word)
    assert (code, set(document), err) == (0, {"schema", "text"}, "")


def test_a_bug_is_one_document_too(
    classic: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("growdisk.api.disk_facts.inspect_device", lambda *_: 1 // 0)
    code, document, err = called(capsys, "show", classic, "--json")
    assert (code, document["error"]["code"]) == (1, 1)
    assert "ZeroDivisionError" in err


def test_stdout_of_the_real_command_is_the_document_alone(classic: Path) -> None:
    first, last = growdisk("--json", "show", classic), growdisk("show", classic, "--json")
    assert first.json() == last.json()
    assert (first.code, first.err) == (0, "")


def test_refusal_of_the_real_command(classic: Path) -> None:
    answer = growdisk("--json", "plan", classic, "1M")
    assert (answer.code, set(answer.json()["error"])) == (3, ERROR)
    assert [line.strip().split(":")[0] for line in answer.err.splitlines()] == [
        "growdisk",
        "why",
        "do",
    ]


def test_usage_error_of_the_real_command() -> None:
    answer = growdisk("frobnicate", "--json")
    assert (answer.code, answer.json()["error"]["code"]) == (2, 2)


def test_a_file_named_like_an_option_asks_for_no_json(tmp_path: Path) -> None:
    answer = growdisk("show", "--", "--json", cwd=tmp_path)
    assert (answer.code, answer.out) == (3, "")

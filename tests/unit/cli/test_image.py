"""growdisk image on the command line: one document, exit codes, and no more loaded than needed."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path

import pytest

from growdisk.cli.main import main
from growdisk.qcow2.create_options import CreateOptions
from tests.unit.cli.command import in_process
from tests.unit.cli.loading import HEAVY, cpu_seconds, loaded_by

PLANNING = (
    "growdisk.planner.layout",
    "growdisk.planner.goal",
    "growdisk.qcow2.image",
    "growdisk.qcow2.writer",
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    assert main(["-q", "image", "create", str(path), "64M"]) == 0
    return path


def test_info_loads_neither_the_planner_nor_the_writer(image: Path) -> None:
    loaded = loaded_by("image", "info", image)
    assert (
        loaded.intersection((*HEAVY, *PLANNING, "ctypes", "decimal", "typing", "subprocess"))
        == set()
    )


def test_info_takes_little_time(image: Path) -> None:
    """Twice what was measured on a busy machine."""
    assert cpu_seconds("image", "info", image) < 0.2


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["info"], dict), (["map"], list), (["check"], dict), (["snapshot", "list"], list),
        (["snapshot", "create", "IMAGE", "one"], dict), (["resize", "IMAGE", "+1M"], dict),
        (["compact"], dict),
        (["compare", "IMAGE", "IMAGE"], dict), (["read", "IMAGE", "0", "4k", "/dev/null"], dict),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_json_is_one_document_wherever_the_option_stands(
    image: Path, capsys: pytest.CaptureFixture[str], words: list[str], kind: type, *, first: bool
) -> None:
    capsys.readouterr()
    words = [str(image) if word == "IMAGE" else word for word in words]
    words = ["image", *words, *([] if str(image) in words else [str(image)])]
    assert main(["--json", *words] if first else [*words, "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), kind)


@pytest.mark.parametrize("target", ["base.qcow2", "middle.qcow2", "data.bin", "other-base.qcow2"])
def test_read_replaces_no_disk_that_an_image_lies_on(tmp_path: Path, target: str) -> None:
    made = {
        "base.qcow2": ["create", "base.qcow2", "1M"],
        "middle.qcow2": ["overlay", "base.qcow2", "middle.qcow2"],
        "top.qcow2": ["overlay", "middle.qcow2", "top.qcow2"],
        "other-base.qcow2": ["create", "other-base.qcow2", "1M"],
        "other.qcow2": ["overlay", "other-base.qcow2", "other.qcow2"],
    }  # fmt: skip
    for words in made.values():
        assert (
            main(
                ["-q", "image", *(str(tmp_path / word) if word in made else word for word in words)]
            )
            == 0
        )
    data_file = ["-o", f"data_file={tmp_path / 'data.bin'}"]
    assert main(["-q", "image", "create", str(tmp_path / "split.qcow2"), "1M", *data_file]) == 0
    image = "split.qcow2" if target == "data.bin" else "top.qcow2"
    before = (tmp_path / target).read_bytes()
    assert (
        main(["-q", "image", "read", str(tmp_path / image), "0b", "64k", str(tmp_path / target)])
        == 3
    )
    assert (tmp_path / target).read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        [], ["melt"], ["info"], ["read", "x", "4096", "1k", "y"], ["read", "x", "+4k", "1k", "y"],
        ["resize", "x", "10GB"], ["snapshot", "create", "x"],
        ["snapshot", "delete", "x", "a", "--id", "1"],
        ["convert", "x"], ["create", "x", "1G", "--encrypt", "luks"],
        ["convert", "x", "y", "-j", "-1"], ["copy", "x", "y", "--sparse", "maybe"],
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_exit_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", "image", *words]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == 2


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["image", "--help"]) == 0
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")
    ]
    verbs = [word for word in listed if word.isalpha() and word.islower()]
    assert {"info", "map", "check", "convert", "compact", "rebase"} <= set(verbs)
    for verb in (
        "info",
        "map",
        "check",
        "compare",
        "create",
        "resize",
        "snapshot",
        "read",
        "write",
        "convert",
        "copy",
    ):
        assert main(["image", verb, "--help"]) == 0
        assert "usage: growdisk image" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ("create", "convert"))
def test_o_help_lists_every_option_that_can_be_given(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["image", verb, "-o", "help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {field.name}=" in listed for field in fields(CreateOptions))


def test_a_map_that_is_refused_says_nothing_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base.raw").write_bytes(bytes(4096))
    assert main(["image", "create", str(tmp_path / "top"), "-b", "base.raw"]) == 0
    (tmp_path / "base.raw").unlink()
    capsys.readouterr()
    assert main(["image", "map", str(tmp_path / "top")]) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size", ["-1", "-1GB"])
def test_a_size_to_shrink_by_is_named_as_it_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    assert main(["image", "resize", str(tmp_path / "x"), size]) == 2
    assert f"cannot read the size '{size}'" in capsys.readouterr().err


def test_a_raw_image_is_refused_before_a_passphrase_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    monkeypatch.setattr("growdisk.cli.keys._is_terminal", lambda: True)
    monkeypatch.setattr("growdisk.cli.keys._ask", lambda text: pytest.fail(text))
    answer = in_process(
        "image", "convert", tmp_path / "disk.raw", tmp_path / "new.raw", "--encrypt", "luks"
    )
    assert (answer.code, "neither compressed nor encrypted" in answer.err) == (2, True)


def test_a_backing_format_needs_a_backing_file(tmp_path: Path) -> None:
    """As with qemu-img."""
    answer = in_process("image", "create", tmp_path / "new.qcow2", "1M", "-F", "raw")
    assert (answer.code, list(tmp_path.iterdir())) == (2, []), answer


def _typing(monkeypatch: pytest.MonkeyPatch, *words: bytes) -> list[str]:
    """A terminal at which these passphrases are typed; what it is asked for."""
    asked, typed = list[str](), iter(words)
    monkeypatch.setattr("growdisk.cli.keys._is_terminal", lambda: True)
    monkeypatch.setattr("growdisk.cli.keys._ask", lambda text: (asked.append(text), next(typed))[1])
    return asked


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    key, path = tmp_path / "key", tmp_path / "locked.qcow2"
    key.write_bytes(b"secret")
    words = ("-q", "image", "create", path, "4M", "--encrypt", "luks", "--key-file", key)
    assert main([*map(str, words)]) == 0
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("image", "compare", "{locked}", "{locked}"),
        ("image", "read", "{locked}", "0", "512b", "{new}"),
        ("image", "convert", "{locked}", "{new}"),
        ("show", "{locked}"),
        ("script", "{locked}", "-o", "{new}"),
    ],
)
def test_a_passphrase_is_asked_for_once(
    locked: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    asked = _typing(monkeypatch, b"secret")
    new = locked.with_name("new")
    answer = in_process(*(word.format(locked=locked, new=new) for word in words))
    assert (asked, "needs the passphrase" in answer.err) == ([f"Passphrase of {locked}: "], False)


def test_a_wrong_passphrase_is_not_asked_for_again(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _typing(monkeypatch, b"wrong")
    answer = in_process("image", "compare", locked, locked)
    assert (answer.code, len(asked), "cannot unlock" in answer.err) == (2, 1, True), answer


def test_a_passphrase_in_a_pipe_is_read_once(
    locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the overlay comes from a pipe, that of its base is typed."""
    top, key = tmp_path / "top.qcow2", tmp_path / "other"
    key.write_bytes(b"other")
    words = ("create", top, "-b", locked.name, "-F", "qcow2", "--encrypt", "luks")
    assert in_process("image", *words, "--key-file", key).code == 0
    asked = _typing(monkeypatch, b"secret")
    read, write = os.pipe()
    os.write(write, b"other")
    os.close(write)
    answer = in_process("image", "compare", top, locked, "--key-file", f"/dev/fd/{read}")
    os.close(read)
    assert (answer.code, asked) == (0, [f"Passphrase of {locked}: "]), answer


@pytest.mark.parametrize(("verb", "code"), [("check", 1), ("compare", 2)])
def test_an_error_has_the_verbs_own_exit_code(tmp_path: Path, verb: str, code: int) -> None:
    gone = tmp_path / "gone.qcow2"
    answer = in_process("--json", "image", verb, *[gone] * (2 if verb == "compare" else 1))
    document = json.loads(answer.out)
    assert (answer.code, document["error"]["code"], document["result"]) == (code, code, "refused")

"""For scripts: stable ids and facts of errors, schema version, events, log line, defaults."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import DiskMaker
from tests.unit.cli.command import GROWDISK, environment, fingerprint, growdisk, in_process


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    return small_disk()


# --- errors and documents -------------------------------------------------------------------------


def test_an_error_has_an_id_and_its_facts(image: Path) -> None:
    error = in_process("plan", image, "+64M", "--partition", "9", "--json").json()["error"]
    assert error["id"] == "partition-not-found"
    assert error["data"] == {
        "path": str(image),
        "wanted": "9",
        "present": ["sda1", "sda2", "sda5"],
        "option": "--partition",
    }
    assert error["code"] == 3


def test_a_usage_error_has_one_too(image: Path) -> None:
    error = in_process("plan", image, "12", "--json").json()["error"]
    assert (error["id"], error["data"]["problem"], error["code"]) == ("bad-size", "12", 2)


@pytest.mark.parametrize(
    ("words", "id", "data"),
    [
        (("frobnicate",), "unknown-command", {"word": "frobnicate", "command": "growdisk"}),
        (("image", "bake"), "unknown-command", {"word": "bake", "command": "growdisk image"}),
        (("show", "--frob", "x"), "no-such-option", {"option": "--frob"}),
        (("show", "x", "--color", "blue"), "bad-value", {"option": "--color", "value": "blue"}),
        (("run", "x", "-j", "many"), "bad-value", {"option": "--jobs", "value": "many"}),
        (
            ("expand", "IMAGE", "--when-used", "x"),
            "bad-value",
            {"option": "--when-used", "value": "x"},
        ),
        (("expand", "IMAGE", "--key-file", "no"), "file-not-readable", {"path": "no"}),
        (("run", "no-such"), "unknown-playbook", {"playbook": "no-such"}),
        ((), "no-command", {"problem": "no command is given"}),
    ],
)
def test_usage_errors_are_told_apart_by_their_ids(
    image: Path, words: tuple[str, ...], id: str, data: dict[str, object]
) -> None:
    answer = in_process("--json", *(word.replace("IMAGE", str(image)) for word in words))
    document = answer.json()
    assert (answer.code, document["result"], document["error"]["id"]) == (2, "refused", id)
    assert data.items() <= document["error"]["data"].items()
    assert "hint" not in document["error"]["data"]


@pytest.mark.parametrize("address", ["https://far/disk.qcow2", "nfs://far/srv/disk.raw"])
def test_an_address_is_shown_as_it_was_given(address: str) -> None:
    answer = in_process("show", address, "--json")
    error = answer.json()["error"]
    assert (answer.code, error["data"]["path"]) == (3, address)
    assert address in error["what"] and address in answer.err


@pytest.mark.parametrize("words", [("show",), ("plan", "+64M"), ("status",), ("image", "compact")])
def test_a_document_names_the_version_of_its_schema(image: Path, words: tuple[str, ...]) -> None:
    verb, *rest = words
    command = (verb, *rest, image) if verb == "image" else (verb, image, *rest)
    assert in_process(*command, "--json").json()["schema"] == 1


def test_the_documents_of_qemu_img_have_its_keys_alone(image: Path) -> None:
    assert "schema" not in in_process("image", "info", image, "--json").json()


# --- events ---------------------------------------------------------------------------------------


def test_events_tell_each_step_as_it_begins_and_ends(image: Path) -> None:
    answer = growdisk("expand", image, "+64M", "--json", "--json-events", "-q")
    events = [json.loads(line) for line in answer.err.splitlines() if line.startswith("{")]
    steps = [step["name"] for step in answer.json()["steps"]]
    assert [event["step"] for event in events if event["event"] == "step-started"] == steps
    assert [event["state"] for event in events if event["event"] == "step-ended"] == ["done"] * len(
        steps
    )
    assert all(event["time"] > 1.7e9 for event in events)


def test_events_go_to_a_descriptor_of_their_own(image: Path, tmp_path: Path) -> None:
    command = (
        f"{GROWDISK} image convert -c {image} {tmp_path / 'c.qcow2'} --events-fd 3 "
        f"3>{tmp_path / 'events'}"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert {event["event"] for event in events} == {"progress"}
    assert events[-1]["percent"] == 100


def test_a_reader_of_events_that_is_gone_ends_no_run(image: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [GROWDISK, "expand", image, "+64M", "-q", "--events-fd", str(writing)],
        pass_fds=[writing],
        env=environment(),
        stdout=subprocess.DEVNULL,
    ) as process:
        os.close(writing)
        assert process.wait() == 0


def test_a_descriptor_that_is_not_open_is_a_usage_error(image: Path) -> None:
    too_large = growdisk("plan", image, "+64M", "--events-fd", str(1 << 64))
    assert (too_large.code, "it is not open" in too_large.err) == (2, True)
    answer = growdisk("plan", image, "+64M", "--events-fd", "77")
    assert (answer.code, "it is not open" in answer.err) == (2, True)


# --- the log --------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["-o", "--log"])
def test_the_log_gets_a_line_for_each_command(image: Path, tmp_path: Path, option: str) -> None:
    log = tmp_path / "log"
    assert in_process("plan", image, "+64M", option, log, "--key", "secret").code == 0
    assert in_process(option, log, "plan", image, "+64M", "--partition", "9").code == 3
    first, second = log.read_text().splitlines()
    assert f"plan {image} +64M" in first
    assert ": exit 0, " in first
    assert ": exit 3, " in second
    assert "secret" not in first


def test_the_options_that_verbs_call_o_stay_theirs(image: Path, tmp_path: Path) -> None:
    assert (
        in_process("image", "create", tmp_path / "new.qcow2", "1G", "-o", "cluster_size=4k").code
        == 0
    )
    assert in_process("script", image, "+64M", "-o", tmp_path / "scripts").code == 0
    assert (
        in_process("image", "info", tmp_path / "new.qcow2", "--json").json()["cluster-size"] == 4096
    )
    assert (tmp_path / "scripts").is_dir()


@pytest.mark.parametrize(
    "name", ["\udcff", "a\n2026-01-01 root growdisk[1] rollback: exit 0", "\x1b"]
)
def test_a_name_of_any_bytes_is_one_line_of_the_log(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    assert in_process("--log", log, "show", name).code == 3
    text = log.read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


@pytest.mark.timeout(30)
def test_a_log_that_is_a_pipe_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    answer = in_process("--log", tmp_path / "log", "image", "info", "/dev/null")
    assert (answer.code, "cannot write" in answer.err) == (2, True)


@pytest.mark.parametrize("option", ["--log", "--html", "--metrics"])
def test_a_report_without_a_folder_is_refused_before_anything_is_done(
    image: Path, tmp_path: Path, option: str
) -> None:
    rules, before = tmp_path / "rules.yml", fingerprint(image)
    rules.write_text(f"rules: [{{images: '{image}', when_used: 0%, by: 64M}}]")
    words = {
        "--log": ("expand", image, "+64M"),
        "--html": ("list", image),
        "--metrics": ("watch", rules),
    }[option]
    answer = in_process(*words, "--json", option, tmp_path / "none" / "report")
    assert (answer.code, answer.json()["result"]) == (2, "refused")
    assert f"name a file with {option}" in answer.err
    assert fingerprint(image) == before


@pytest.mark.parametrize("option", ["--log", "--html"])
def test_a_report_that_cannot_be_written_is_told_like_a_lost_answer(
    image: Path, option: str
) -> None:
    answer = in_process("list", image, "--json", option, "/dev/full")
    assert len(answer.json()["disks"]) == 1
    assert (answer.code, "cannot write" in answer.err) == (1, True)
    assert in_process("list", image.with_name("nosuch"), option, "/dev/full").code == 3


def test_the_log_has_the_exit_code_of_the_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for number in range(2000):
        (tmp_path / f"{number}{'-' * 100}.img").touch()
    listing = [GROWDISK, "--log", log, "list", tmp_path]
    with subprocess.Popen(listing, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        process.stdout.close()
        without_reader = process.wait()
    with open("/dev/full", "w") as full:  # noqa: PTH123
        full_disk = subprocess.run(
            [GROWDISK, "--log", log, "completion", "bash"],
            stdout=full, stderr=subprocess.DEVNULL, env=environment(),
        ).returncode  # fmt: skip
    no_name = in_process("--log", log, "show", "x" * 300).code
    codes = [without_reader, full_disk, no_name]
    # The files are no images, whether somebody reads that or not.
    assert codes == [3, 1, 3]
    logged = [line.split(": exit ")[1].split(",")[0] for line in log.read_text().splitlines()]
    assert logged == [str(code) for code in codes]


@pytest.mark.parametrize("name", ["log", "plan", "image"])
def test_the_file_of_an_option_is_not_the_command(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_process("--log", name, "image", "check", image).code == 0
    # 2 would mean that the image is corrupt.
    assert in_process("--log", name, "image", "check", image, "-r", "wrong").code == 1
    assert in_process("-o", name, "image", "convert", "-p", image, "copy.qcow2").code == 0


@pytest.mark.parametrize("start", [b"QFI\xfb\0\0\0\3", bytes(512)])
@pytest.mark.parametrize(
    "words",
    [
        ("show", "IMAGE", "--log", "DISK"),
        ("list", "IMAGE", "--html", "DISK"),
        ("watch", "RULES", "--metrics", "DISK"),
    ],
)
def test_a_report_never_goes_over_a_disk(
    image: Path, tmp_path: Path, words: tuple[str, ...], start: bytes
) -> None:
    disk, rules = tmp_path / "disk", tmp_path / "rules.yml"
    disk.write_bytes(start + b"disk")
    rules.write_text(f"- disks: {image}\n")
    named = {"IMAGE": image, "DISK": disk, "RULES": rules}
    answer = in_process(*(named.get(word, word) for word in words))
    assert (answer.code, "may be a disk" in answer.err) == (2, True), answer.err
    assert disk.read_bytes() == start + b"disk"


# --- a site's defaults ----------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "growdisk.toml"
    monkeypatch.setenv("GROWDISK_CONFIG", str(file))
    return file


def test_a_configured_default_holds_until_the_command_line_says_otherwise(
    image: Path, config: Path
) -> None:
    config.write_text('swap = "move"\nsnapshots = "overlay"\n')
    plan = in_process("plan", image, "+64M", "--json").json()
    assert (plan["given_up"], plan["snapshots"]) == ([], "overlay")
    plan = in_process(
        "plan", image, "+64M", "--json", "--swap", "drop", "--snapshots", "internal"
    ).json()
    assert (len(plan["given_up"]), plan["snapshots"]) == (1, "internal")


def test_the_folder_of_the_configuration_may_begin_with_a_tilde(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings/growdisk").mkdir(parents=True)
    (tmp_path / "settings/growdisk/config.toml").write_text('snapshots = "overlay"\n')
    monkeypatch.delenv("GROWDISK_CONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", "~/settings")
    assert in_process("plan", image, "+64M", "--json").json()["snapshots"] == "overlay"


def test_a_recipe_counts_more_than_a_configured_default(
    image: Path, config: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yml"
    words = ("provision", image, tmp_path / "out.qcow2", "--recipe", recipe, "-n", "--json")
    config.write_text('swap = "drop"\n')
    for text, option, given_up in (
        ("swap: move", (), 0),
        ("swap: move", ("--swap", "drop"), 1),
        ("overlay: true", (), 1),
        ("overlay: true", ("--swap", "move"), 0),
    ):
        recipe.write_text(f"{text}\nsize: +64M\n")
        (made,) = in_process(*words, *option).json()["outputs"]
        assert len(made["given_up"]) == given_up, (text, option)


@pytest.mark.parametrize(
    ("option", "told"), [((), "qemu:///rules"), (("-c", "qemu:///typed"), "qemu:///typed")]
)
def test_rules_count_more_than_a_configured_default(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: list[str], told: str
) -> None:
    config.write_text('connect = "qemu:///site"\n')
    rules = tmp_path / "rules.yml"
    rules.write_text("connect: qemu:///rules\nrules: [{domains: [web], step: 1G}]\n")
    asked: list[object] = []
    monkeypatch.setattr(
        "growdisk.api.watching.round.list_disks", lambda wanted: asked.append(wanted.uri) or []
    )
    assert in_process("watch", rules, *option).code == 0
    assert asked == [told]


def test_a_configured_log_gives_way_to_the_command_line(
    image: Path, config: Path, tmp_path: Path
) -> None:
    config.write_text(f'log = "{tmp_path}/site"\n')
    in_process("--log", tmp_path / "mine", "plan", image, "+64M")
    assert [file.exists() for file in (tmp_path / "site", tmp_path / "mine")] == [False, True]
    in_process("plan", image, "+64M")
    assert (tmp_path / "site").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('swop = "move"', "did you mean swap?"),
        ('swap = "keep"', "one of: drop, move, file"),
        ("swap = 1", 'swap = "…"'),
        ('syslog = "yes"', "syslog = true"),
        ("swap =", "correct it, or move it away"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_named(
    image: Path, config: Path, text: str, told: str
) -> None:
    config.write_text(text)
    answer = in_process("plan", image, "+64M")
    assert (answer.code, str(config) in answer.err, told in answer.err) == (2, True, True), (
        answer.err
    )


# --- exit codes -----------------------------------------------------------------------------------


def test_check_and_compare_have_the_exit_codes_of_qemu_img(image: Path, tmp_path: Path) -> None:
    assert in_process("image", "check", image, "--bogus", "--json").code == 1
    missing = in_process("image", "compare", image, tmp_path / "none", "--json")
    assert (missing.code, missing.json()["error"]["code"]) == (2, 2)


@pytest.mark.parametrize(
    "option", ["cluster_size=3k", "refcount_bits=7", "cluster_size=4M", "compat=2"]
)
def test_an_option_that_cannot_be_meant_is_a_usage_error(tmp_path: Path, option: str) -> None:
    assert in_process("image", "create", tmp_path / "x.qcow2", "1G", "-o", option).code == 2
    assert not (tmp_path / "x.qcow2").exists()


def test_an_output_in_a_folder_that_is_not_there_is_refused_by_name(
    image: Path, tmp_path: Path
) -> None:
    answer = in_process("provision", image, tmp_path / "none/web.qcow2")
    assert answer.code == 3
    assert str(tmp_path / "none/web.qcow2") in answer.err

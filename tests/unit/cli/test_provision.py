"""growdisk provision: recipes from options and files, and refusals with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.api.provisioning.recipe import as_template, counted, numbered
from growdisk.api.provisioning.recipe_file import load_recipe, read_output_list
from growdisk.errors import UsageError
from growdisk.units import GiB, MiB
from tests.conftest import Copier
from tests.guests.content import Entry
from tests.guests.small import SmallDisk, make_disk
from tests.refusals import raises
from tests.unit.cli.command import fingerprint, in_process

RECIPE = """\
size: 1G
overlay: true
hostname: "{{ role }}-{{ n }}"
authorized_keys:
  - key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJx1nd4e3kqkqkq2kq2kq2kq2 me
  - {user: ann, file: key.pub}
passwords:
  - {user: root, file: secret}
files:
  - {path: /etc/motd, content: hello, mode: "600"}
  - {path: /etc/x, source: x.j2, template: true, mode: "0640", owner: ann, group: 4}
commands: [systemctl disable apt-daily.timer]
seed: {user_data: user}
variables: {role: web, port: 8080, fast: true}
outputs:
  - {name: a.qcow2}
  - {name: b.qcow2, size: 2G, variables: {role: db}}
"""


def written(folder: Path, text: str = RECIPE, name: str = "recipe.yml") -> Path:
    (folder / "key.pub").write_text("ssh-rsa AAAA ann\n")
    (folder / "secret").write_text("s3cret\n")
    (folder / name).write_text(text)
    return folder / name


def test_a_recipe_says_all_that_options_say(tmp_path: Path) -> None:
    file = load_recipe(written(tmp_path))
    recipe = file.recipe
    assert recipe.size is not None and recipe.size.bytes == GiB and recipe.overlay
    assert [keys.user for keys in recipe.authorized_keys] == ["root", "ann"]
    assert recipe.authorized_keys[1].lines == "ssh-rsa AAAA ann\n"
    assert recipe.passwords[0].clear == b"s3cret" and "s3cret" not in repr(recipe)
    motd, other = recipe.files
    assert (motd.content, motd.mode) == ("hello", 0o600)
    assert (other.source, other.template, other.mode) == (tmp_path / "x.j2", True, 0o640)
    assert (other.owner, other.group) == ("ann", "4")
    assert recipe.seed is not None and recipe.seed.user_data == tmp_path / "user"
    assert recipe.variables == {"role": "web", "port": "8080", "fast": "true"}
    assert [str(output.path) for output in file.outputs] == ["a.qcow2", "b.qcow2"]
    assert file.outputs[1].size is not None and file.outputs[1].variables == {"role": "db"}


@pytest.mark.parametrize("option", ["--copy", "--template"])
def test_an_option_that_cannot_be_read_is_named_as_it_was_given(option: str) -> None:
    error = in_process("provision", "a", "b", option, "nowhere", "--json").json()["error"]
    assert error["data"]["option"] == option


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("size: 1G\nhostnam: x\n", "recipe.yml:2:1", "write hostname"),
        ("size: 10GB\n", "recipe.yml:1:7", "10G"),
        ("swap: dorp\n", "recipe.yml:1:7", "write drop"),
        ("overlay: maybe\n", "recipe.yml:1:10", "true"),
        ("files:\n  - path: /x\n    contents: y\n", "recipe.yml:3:5", "write content"),
        ("files:\n  - path: /x\n", "recipe.yml:2:5", "source, content"),
        ("files:\n  - {path: /x, content: y, mode: 0644}\n", "recipe.yml:2:", "0644"),
        ("passwords:\n  - user: root\n", "recipe.yml:2:5", "password, file, hash"),
        ("outputs: web.qcow2\n", "recipe.yml:1:10", "list"),
        ("- size\n", "recipe.yml:1:1", "mapping"),
        ("size: 1G\nsize: 2G\n", "recipe.yml:2:1", "second"),
        ("size: [\n", "recipe.yml:2:1", ""),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place_and_the_right_word(
    text: str, place: str, words: str, tmp_path: Path
) -> None:
    with raises("bad-file") as caught:
        load_recipe(written(tmp_path, text))
    said = f"{caught.value.what} {caught.value.why} {caught.value.what_to_do}"
    assert place in said and words in said


def test_patterns_number_the_outputs() -> None:
    assert [str(output.path) for output in counted("web-{n:02}.qcow2", 2)] == [
        "web-01.qcow2",
        "web-02.qcow2",
    ]
    assert numbered("{n}-{n:3}", "7") == "7-007"
    assert as_template("web-{n:02}.{name}") == "web-{{ n.zfill(2) }}.{{ name }}"
    assert as_template("{{ role }}-{n}") == "{{ role }}-{{ n.zfill(0) }}"
    with pytest.raises(UsageError, match="one name"):
        counted("web.qcow2", 2)
    with pytest.raises(UsageError):
        counted("web-{n}.qcow2", 0)


def test_lists_are_csv_or_yaml(tmp_path: Path) -> None:
    csv, yaml = tmp_path / "list.csv", tmp_path / "list.yml"
    csv.write_text("name, size, role\na.qcow2,1G,web\n\nb.qcow2,,db\n")
    yaml.write_text(
        "- {name: a.qcow2, size: 1G, variables: {role: web}}\n- {name: b.qcow2, variables: {role: "
        "db}}\n"
    )
    assert read_output_list(csv) == read_output_list(yaml)
    assert read_output_list(csv)[0].size is not None and read_output_list(csv)[1].size is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.qcow2,1G\n", "list.csv:1"),
        ("name,size\na.qcow2\n", "list.csv:2"),
        ("name,size\na.qcow2,10GB\n", "list.csv:2"),
        ("name,size\n,1G\n", "list.csv:2"),
        ("name,name\n", "list.csv:1"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_output_list(tmp_path / "list.csv")
    assert words in caught.value.what


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["out.qcow2", "--list", "x.csv"], 2),
        (["--count", "3"], 2),
        (["out.qcow2", "--count", "2"], 2),
        (["out.qcow2", "--size", "10GB"], 2),
        (["out.qcow2", "--size", "1M"], 3),
        (["out.qcow2", "--password", "root:secret"], 2),
        (["out.qcow2", "--password", "root:password:secret"], 2),
        (["out.qcow2", "--copy", "nowhere"], 2),
        (["out.qcow2", "--copy", "a:/b:rw"], 2),
        (["out.qcow2", "--copy", "/no/such/file:/b"], 2),
        (["out.qcow2", "-e", "1=2"], 2),
        (["out.qcow2", "-j", "0"], 2),
        (["out.qcow2", "--ssh-key", "/no/such/key.pub"], 2),
        (["out.raw", "--compress", "--format", "raw"], 2),
        (["missing/out.qcow2"], 3),
        (["guest.qcow2", "--force"], 3),
    ],
)
def test_bad_input_leaves_everything_as_it_was(
    words: list[str], code: int, copied: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = copied("guest.qcow2")
    before = fingerprint(base)
    monkeypatch.chdir(base.parent)
    answer = in_process("--json", "provision", base, *words)
    assert answer.code == code, answer.err
    assert answer.json()["error"]["what"] and answer.json()["error"]["do"]
    assert "Traceback" not in answer.err and fingerprint(base) == before
    assert [path.name for path in base.parent.iterdir()] == ["guest.qcow2"]


@pytest.fixture(scope="module")
def with_users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    users = Entry("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    base = tmp_path_factory.mktemp("base") / "guest.qcow2"
    return make_disk(base, SmallDisk(size=64 * MiB, swap_size=MiB, extra_files=(users,)))


def test_a_dry_run_shows_what_would_be_made(
    with_users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = with_users
    monkeypatch.chdir(base.parent)
    count = ("web-{n}.qcow2", "--count", "2", "--size", "1G", "--hostname", "w{n}")
    answer = in_process("--json", "provision", base, *count, "-n")
    said = answer.json()
    assert [made["customized"] for made in said["outputs"]] == [["hostname: w1"], ["hostname: w2"]]
    assert answer.code == 0 and said["result"] == "planned"
    assert [(made["path"], made["virtual_size"]) for made in said["outputs"]] == [
        ("web-1.qcow2", GiB),
        ("web-2.qcow2", GiB),
    ]
    assert [path.name for path in base.parent.iterdir()] == ["guest.qcow2"]


def test_a_locked_password_is_told_as_that(with_users: Path) -> None:
    words = ("provision", with_users, with_users.with_name("out.qcow2"), "--dry-run")
    said = in_process(*words, "--password", "root:locked", "--password", "ann:hash:*")
    assert "password of root: locked" in said.out and "password of ann: locked" in said.out, said


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("out.raw", ["--overlay"]),
        ("out.raw", ["--compress"]),
        ("out.raw", ["--format", "qcow2"]),
        ("out.qcow2", ["--format", "raw"]),
    ],
)
def test_a_name_that_promises_another_format_is_refused(
    out: str, options: list[str], copied: Copier
) -> None:
    base = copied("guest.qcow2")
    answer = in_process("provision", base, base.with_name(out), *options)
    assert (answer.code, f"image with the name of a {out[4:]} one" in answer.err) == (2, True)
    assert not base.with_name(out).exists()


@pytest.mark.parametrize(
    "words", [("provision", "@"), ("image", "convert", "@"), ("image", "create", "-b", "@")]
)
@pytest.mark.parametrize("name", ["new.vmdk", "new.VHD"])
def test_a_name_of_a_format_that_growdisk_does_not_make_is_refused(
    words: tuple[str, ...], name: str, copied: Copier
) -> None:
    base = copied("guest.qcow2")
    line = [str(base) if word == "@" else word for word in words]
    answer = in_process(*line, base.with_name(name))
    assert (answer.code, "would not be what its name says" in answer.err) == (2, True)
    assert not base.with_name(name).exists()


def test_an_overlay_has_no_name_of_a_raw_disk(copied: Copier) -> None:
    base = copied("guest.qcow2")
    assert in_process("image", "overlay", base, base.with_name("new.raw")).code == 2
    assert not base.with_name("new.raw").exists()

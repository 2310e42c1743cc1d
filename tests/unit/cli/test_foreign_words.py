"""Habits from qemu-img, virt-resize, growpart and virsh: accepted if the same, else a hint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.api.provisioning.seeding import seed_iso
from tests.conftest import DiskMaker
from tests.guests.tools import run
from tests.unit.cli.command import Answer, fingerprint, in_process


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    return small_disk()


def hint(answer: Answer) -> str:
    """The hint of a usage error: exit 2 (image check: 1, as qemu-img), nothing on stdout."""
    code = 1 if "image check" in answer.err else 2
    assert (answer.code, answer.out) == (code, ""), answer
    return answer.err.splitlines()[-1].removeprefix("  do:   ")


# --- accepted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["info", "map", "check"])
@pytest.mark.parametrize("words", [("--output", "json"), ("--output=json",)])
def test_output_json_is_json(image: Path, verb: str, words: tuple[str, ...]) -> None:
    wanted = in_process("image", verb, image, "--json")
    assert in_process("image", verb, *words, image).json() == wanted.json()


def test_an_error_after_output_json_is_a_document_too(tmp_path: Path) -> None:
    answer = in_process("image", "info", "--output=json", tmp_path / "none")
    assert answer.json()["error"]["code"] == answer.code == 3


def test_output_human_is_the_text(image: Path) -> None:
    assert (
        in_process("image", "info", "--output", "human", image).out
        == in_process("image", "info", image).out
    )


def test_progress_may_be_asked_for(image: Path, tmp_path: Path) -> None:
    assert (
        in_process("image", "convert", "-p", "-W", "-m", "4", image, tmp_path / "copy.qcow2").code
        == 0
    )
    assert in_process("image", "compare", "-p", image, tmp_path / "copy.qcow2").code == 0


def test_snapshots_as_qemu_img_writes_them(image: Path) -> None:
    assert in_process("image", "snapshot", "-c", "before", image).code == 0
    assert "before" in run("qemu-img", "snapshot", "-l", image)
    assert "before" in in_process("image", "snapshot", "-l", image).out
    assert in_process("image", "snapshot", "-a", "before", image).code == 0
    assert in_process("image", "snapshot", "-d", "before", image).code == 0
    assert "before" not in run("qemu-img", "snapshot", "-l", image)


def test_a_backing_file_may_be_an_option_of_o(image: Path, tmp_path: Path) -> None:
    over = tmp_path / "over.qcow2"
    options = f"backing_file={image},backing_fmt=qcow2,cluster_size=128k"
    assert in_process("image", "create", "-o", options, over).code == 0
    told = json.loads(run("qemu-img", "info", "--output=json", over))
    assert (told["full-backing-filename"], told["cluster-size"]) == (str(image), 128 << 10)


@pytest.mark.parametrize(
    "words",
    [
        ("--size", "+64M"),
        ("--size=+64M",),
        ("+64m",),
        ("+64M", "--expand", "/dev/sda1"),
        ("+64M", "--expand=sda1"),
    ],
)
def test_the_same_plan_in_other_words(image: Path, words: tuple[str, ...]) -> None:
    wanted = in_process("plan", image, "+64M", "--json").json()["after"]
    told = in_process("plan", image, *words, "--json").json()["after"]
    for layout in (wanted, told):
        # a new file's grows a little when the host writes it back
        del layout["image"]["actual_size"]
    assert told == wanted


def test_a_size_in_the_words_of_other_tools_may_stand_before_the_image() -> None:
    for words in (["--size", "10G", "no.qcow2"], ["--size=10G", "no.qcow2"]):
        assert "cannot open no.qcow2" in in_process("plan", *words).err


def test_a_size_that_provision_has_as_an_option() -> None:
    assert "--size 20G" in in_process("provision", "base.qcow2", "out.qcow2", "20G").err


@pytest.mark.parametrize("words", [("--size",), ("--size", ""), ("--size=",), ("--", "--size")])
def test_a_size_that_is_missing_is_told(words: tuple[str, ...]) -> None:
    """As of a script's variable that was never set: no SIZE would fill the disk as it is."""
    answer = in_process("plan", "guest.qcow2", *words)
    assert (answer.code, "IMAGE +10G" in answer.err or "write +10G" in answer.err) == (2, True)


@pytest.mark.parametrize("name", ["sda5", "/dev/sda5", "vda5", "nvme0n1p5", "5"])
def test_a_partition_is_named_as_linux_names_it(image: Path, name: str) -> None:
    plan = in_process("plan", image, "+64M", "--delete", name, "--json")
    assert 5 not in [part["number"] for part in plan.json()["after"]["partitions"]]


@pytest.mark.parametrize("words", [("help", "expand"), ("-h", "expand"), ("expand", "--help")])
def test_help_of_a_command_in_any_order(words: tuple[str, ...]) -> None:
    answer = in_process(*words)
    assert (answer.code, answer.out.startswith("usage: growdisk expand ")) == (0, True)


def test_growdisk_version() -> None:
    assert in_process("version").out == in_process("--version").out


# --- the name decides -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"), [("d.raw", "raw"), ("d.img", "raw"), ("d.qcow2", "qcow2"), ("d", "qcow2")]
)
def test_the_name_of_a_new_image_decides_its_format(tmp_path: Path, name: str, kind: str) -> None:
    assert in_process("image", "create", tmp_path / name, "1G").code == 0
    assert json.loads(run("qemu-img", "info", "--output=json", tmp_path / name))["format"] == kind


@pytest.mark.parametrize(
    "words", [("-f", "qcow2", "1G"), ("-b", "base.qcow2"), ("--encrypt", "luks", "1G")]
)
def test_a_qcow2_image_is_not_made_with_the_name_of_a_raw_one(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    answer = in_process("image", "create", tmp_path / "d.raw", *words)
    assert hint(answer) == "name it .qcow2"
    assert not (tmp_path / "d.raw").exists()


# --- answered with a hint -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["expnd"], "did you mean growdisk expand?"),
        (["image", "convrt"], "did you mean growdisk image convert?"),
        (["resize", "x"], "growdisk expand IMAGE +10G"),
        (["info", "x"], "growdisk image info IMAGE"),
        (["convert", "a", "b"], "growdisk image convert does that"),
        (["growpart", "x", "1"], "--partition 1"),
        (["blockresize", "web01", "vda", "40G"], "growdisk expand -d NAME 40G"),
        (["virt-resize", "a", "b"], "growdisk provision IN OUT --size 40G"),
        (["image", "dd", "x"], "growdisk image read"),
        (["image", "amend", "x"], "--upgrade"),
        (["image", "bitmap", "x"], "--bitmaps"),
        (["image", "measure", "x"], "qemu-img measure"),
    ],
)
def test_a_command_of_another_tool(words: list[str], told: str) -> None:
    assert told in hint(in_process(*words))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["image", "convert", "-n", "a", "b"], "remove DST"),
        (["image", "convert", "-S", "4k", "a", "b"], "zeros by itself"),
        (["image", "convert", "-t", "none", "a", "b"], "page cache"),
        (["image", "commit", "-d", "a"], "empties the overlay"),
        (["image", "create", "-u", "a", "1G"], "opens the backing file"),
        (["image", "info", "--image-opts", "a"], "name the file itself"),
        (["image", "info", "--output", "yaml", "a"], "--output json"),
        (["expand", "a", "--resize", "/dev/sda1=+1G"], "--grow sda1=+1G"),
        (["expand", "a", "--machine-readable"], "--json"),
        (["expand", "a", "--no-extra-partition"], "leave it out"),
        (["expand", "a", "+1G", "--swp", "move"], "did you mean --swap?"),
        (["image", "check", "a", "--nonsense"], "growdisk image check --help lists its options"),
    ],
)
def test_an_option_of_another_tool_is_named_alone(words: list[str], told: str) -> None:
    answer = in_process(*words)
    assert told in hint(answer)
    option = next(word for word in words if word.startswith("-")).partition("=")[0]
    assert (
        any(line.endswith(f"has no option {option}") for line in answer.err.splitlines())
        or "--swp" in words
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["+64M", "{image}"], "the image comes first: growdisk plan {image} +64M"),
        (["{image}", "1"], "a partition is named with --partition 1"),
        (["{image}", "1073741824"], "write 1073741824b for bytes, that is 1G"),
        (["{image}", "+", "10G"], "write +10G"),
        (
            ["{image}", "{image}", "+1G"],
            "growdisk run expand-root -e target='*.qcow2' -e size=+10G",
        ),
    ],
)
def test_words_in_the_wrong_place(image: Path, words: list[str], told: str) -> None:
    before = fingerprint(image)
    answer = in_process("plan", *(word.format(image=image) for word in words))
    assert told.format(image=image) in hint(answer)
    assert fingerprint(image) == before


def test_the_name_of_a_machine_is_not_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = in_process("expand", "web01", "+1G")
    assert (answer.code, "-d web01" in answer.err) == (3, True)


def test_an_address_is_to_be_downloaded_first() -> None:
    answer = in_process("expand", "https://example.org/a.qcow2", "+1G")
    assert answer.code == 3
    assert "download it first: curl -LO https://example.org/a.qcow2;" in answer.err


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("rbd:pool/web01", "rbd map POOL/IMAGE"),
        ("iscsi://far/iqn.x/0", "iscsiadm --login"),
        ("nbds://far/web01", "qemu-nbd --connect=/dev/nbd0 --format=raw nbds://far/web01"),
    ],
)
def test_an_address_that_is_not_offered_is_to_be_attached_first(address: str, told: str) -> None:
    answer = in_process("expand", address)
    assert (answer.code, told in answer.err) == (3, True), answer


@pytest.mark.parametrize("word", ["nbd://far:x/web01", "ssh://far", "nbd+unix:///web01"])
def test_an_address_that_cannot_be_read_is_a_usage_error(word: str) -> None:
    answer = in_process("expand", word)
    assert (answer.code, "write nbd://HOST[:PORT]/EXPORT" in answer.err) == (2, True), answer


def test_an_address_goes_with_neither_a_machine_nor_a_playbook() -> None:
    for more in (("-d", "web01"), ("--as-playbook",)):
        assert in_process("plan", "nbd+unix:///web01?socket=/none", *more).code == 2


def test_what_does_not_answer_is_named_by_its_address() -> None:
    answer = in_process("show", "nbd+unix:///web01?socket=/none/such")
    assert answer.code == 3, answer
    assert "cannot reach nbd+unix:///web01?socket=/none/such" in answer.err, answer


def test_an_image_of_a_cd_never_grows(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(seed_iso({"file": b"x"}, 0))
    answer = in_process("expand", tmp_path / "a.iso", "+1G")
    assert (answer.code, "name the disk that was installed from it" in answer.err) == (3, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["image", "convert", "-O", "vmdk", "a", "b"], "qemu-img convert reads and writes vmdk"),
        (["image", "convert", "-O", "qcow", "a", "b"], "qemu-img convert reads and writes qcow"),
        (["image", "convert", "-O", "qcow3", "a", "b"], "did you mean qcow2?"),
        (["expand", "a", "--swap", "mov"], "did you mean move?"),
        (["expand", "a", "--backend", "kvm"], "one of: auto"),
        (["image", "create", "-f", "qcow2", "a.raw", "1G"], "name it .qcow2"),
        (["image", "create", "-f", "raw", "a.qcow2", "1G"], "name it .raw"),
        (["watch", "rules.yml", "-j", "0"], "growdisk watch --help"),
        (["provision", "a", "b", "-j", "-1"], "growdisk provision --help"),
        (["run", "play.yml", "-j", "1001"], "growdisk run --help"),
        (["image", "convert", "a", "b", "-j", "-1"], "growdisk image convert --help"),
        (["image", "convert", "a", "b", "-j", "9" * 5000], "growdisk image convert --help"),
    ],
)
def test_a_value_that_cannot_be_meant(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in hint(in_process(*words))
    assert not list(tmp_path.iterdir())


def test_the_image_where_the_word_for_what_to_do_should_stand(image: Path) -> None:
    answer = in_process("image", "snapshot", image)
    assert f"'{image}' stands where list or create or apply or delete should" in answer.err
    right = ("image", "snapshot", "list", str(image))
    assert hint(answer) == f"what to do comes before the image: growdisk {' '.join(right)}"
    assert in_process(*right).code == 0
    told = in_process("completion", "csh")
    assert "'csh' stands where bash or zsh or fish should" in told.err


def test_the_options_of_a_command_stand_after_it() -> None:
    assert hint(in_process("-d", "web01", "expand")) == "growdisk expand -d web01"


def test_growdisk_alone_shows_its_commands() -> None:
    answer = in_process()
    assert (answer.code, answer.out) == (2, "")
    assert "expand" in answer.err
    assert "no command is given" in answer.err


def test_common_options_may_stand_before_the_command(image: Path) -> None:
    assert (
        in_process("--color", "never", "show", image).out
        == in_process("show", image, "--color", "never").out
    )


def test_the_whole_backing_chain_is_described(image: Path, tmp_path: Path) -> None:
    middle, top = tmp_path / "middle.qcow2", tmp_path / "top.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image.name, "-F", "qcow2", middle)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", middle.name, "-F", "qcow2", top)
    theirs = json.loads(run("qemu-img", "info", "--backing-chain", "--output=json", top))
    ours = in_process("image", "info", "--backing-chain", "--output=json", top).json()
    assert [layer["filename"] for layer in ours] == [layer["filename"] for layer in theirs]
    assert [layer["virtual-size"] for layer in ours] == [layer["virtual-size"] for layer in theirs]
    shown = in_process("image", "info", "--backing-chain", top)
    assert [line for line in shown.out.splitlines() if line.startswith("image: ")] == [
        f"image: {path}" for path in (top, middle, image)
    ]


def test_a_backing_chain_is_followed_no_further_than_trusted(image: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    over = tmp_path / "elsewhere/over.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", over)
    answer = in_process("image", "info", "--backing-chain", over)
    assert (answer.code, "--trust-references" in answer.err) == (3, True)
    assert in_process("image", "info", "--backing-chain", "--trust-references", over).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("expand", "there.raw", "--with", "nbd://far/web01"),
        ("image", "info", "nbd://far/web01"),
        ("image", "convert", "ssh://far/web01.raw", "x.qcow2"),
        ("script", "nbd://far/web01", "-o", "scripts"),
        ("list", "nbd://far/web01", "--json"),
    ],
)
def test_a_command_that_takes_no_address_says_so(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.raw").write_bytes(bytes(1 << 20))
    answer = in_process(*words)
    assert "is an address, which is not taken here" in answer.err + answer.out, answer

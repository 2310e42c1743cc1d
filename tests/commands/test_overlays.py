"""Images that other images lie on: found, named, and not written to without consent."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from growdisk.api.overlays import overlays_on
from growdisk.durable import sync_file
from growdisk.qcow2.image import Qcow2Image
from tests.conftest import Copier
from tests.guests.tools import run
from tests.oracle.qemu import qemu_img
from tests.unit.cli.command import Answer, fingerprint, in_process
from tests.unit.cli.runs import run_on

WRITING = {
    "expand": ("expand", "IMAGE", "+64M"),
    "plan": ("plan", "IMAGE", "+64M"),
    "write": ("image", "write", "IMAGE", "1M", "FILE"),
    "resize": ("image", "resize", "IMAGE", "+64M"),
    "compact": ("image", "compact", "IMAGE"),
    "snapshot create": ("image", "snapshot", "create", "IMAGE", "more"),
    "snapshot apply": ("image", "snapshot", "apply", "IMAGE", "mine"),
    "snapshot delete": ("image", "snapshot", "delete", "IMAGE", "mine"),
    "rebase unsafe": ("image", "rebase", "-u", "IMAGE"),
}


def asked(verb: str, image: Path, *more: str) -> Answer:
    file = image.with_name("bytes")
    file.write_bytes(os.urandom(4096))
    words = {"IMAGE": str(image), "FILE": str(file)}
    return in_process(*(words.get(word, word) for word in WRITING[verb]), *more)


def overlay(
    base: Path, name: str, backing: str | None = None, backing_format: str = "qcow2"
) -> Path:
    """An overlay beside the base, whose header has the name `backing`."""
    path = base.with_name(name)
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", backing_format, path)
    if backing is not None:
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", backing, "-F", backing_format, path)
    return path


def names_on(image: Path) -> list[str]:
    return [Path(found.path).name for found in overlays_on(image)]


@pytest.mark.parametrize("verb", WRITING)
def test_base_of_others_is_written_to_only_with_consent(copied: Copier, verb: str) -> None:
    base = copied("guest.qcow2")
    qemu_img("snapshot", "-c", "mine", base)
    overlay(base, "top.qcow2")
    before = fingerprint(base)
    answer = asked(verb, base)
    assert (answer.code, fingerprint(base)) == (3, before), answer
    assert str(base.with_name("top.qcow2")) in answer.err
    assert "--overlays-may-break" in answer.err
    assert asked(verb, base, "--overlays-may-break").code == 0


def test_repair_of_a_base_waits_for_consent_as_well(copied: Copier) -> None:
    base = copied("guest.qcow2")
    overlay(base, "top.qcow2")
    answer = in_process("image", "check", "-r", "leaks", base)
    assert (answer.code, "top.qcow2" in answer.err) == (1, True)  # could not check
    assert in_process("image", "check", "-r", "leaks", "--overlays-may-break", base).code == 0
    assert in_process("image", "check", base).code == 0


def spelled(base: Path) -> dict[str, str]:
    """How QEMU may be told of a base."""
    file = {"driver": "file", "filename": str(base)}
    return {
        "relative": base.name,
        "with dots": f"../{base.parent.name}/./{base.name}",
        "absolute": str(base),
        "file:": f"file:{base}",
        "json": "json:" + json.dumps({"driver": "qcow2", "file": file}),
        "json, flat": "json:"
        + json.dumps({"driver": "qcow2", "file.driver": "file", "file.filename": str(base)}),
        "json, through a filter": "json:"
        + json.dumps(
            {"driver": "throttle", "throttle-group": "g", "file": {"driver": "qcow2", "file": file}}
        ),
    }


@pytest.mark.parametrize("kind", spelled(Path("/x/y")))
def test_base_is_recognised_however_it_is_named(copied: Copier, kind: str) -> None:
    base = copied("guest.qcow2")
    overlay(base, "top.qcow2", spelled(base)[kind])
    assert names_on(base) == ["top.qcow2"]
    assert asked("expand", base).code == 3


def test_links_on_either_side_lead_to_the_same_file(copied: Copier, tmp_path: Path) -> None:
    base = copied("guest.qcow2")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "base.qcow2").symlink_to(base)
    overlay(folder / "base.qcow2", "top.qcow2", "base.qcow2")
    for image in (base, folder / "base.qcow2"):
        found = overlays_on(image)
        assert bool(found) == (image != base), "only the image's own folders are looked at"
    os.link(base, folder / "hard.qcow2")
    assert names_on(folder / "hard.qcow2") == ["top.qcow2"]
    linked = tmp_path / "linked.qcow2"
    linked.symlink_to(folder / "top.qcow2")
    assert names_on(base) == ["linked.qcow2"]


def test_overlay_of_an_overlay_counts_for_all_that_is_below(copied: Copier) -> None:
    base = copied("guest.qcow2")
    middle = overlay(base, "middle.qcow2")
    top = overlay(middle, "top.qcow2")
    assert names_on(base) == ["middle.qcow2", "top.qcow2"]
    assert (names_on(middle), names_on(top)) == (["top.qcow2"], [])
    assert asked("write", middle).code == 3
    assert asked("write", top).code == 0


@pytest.mark.parametrize(
    "kind", ["raw base", "QED on it", "qcow on it", "version 2 on it", "2 MiB clusters"]
)
def test_other_kinds_of_images_lie_on_images_too(copied: Copier, kind: str) -> None:
    base = copied("guest.raw" if kind == "raw base" else "guest.qcow2")
    top, form = base.with_name("top"), {"QED on it": "qed", "qcow on it": "qcow"}.get(kind, "qcow2")
    options = {
        "version 2 on it": ("-o", "compat=0.10"),
        "2 MiB clusters": ("-o", "cluster_size=2M"),
    }.get(kind, ())
    qemu_img(
        "create", "-q", "-f", form, *options, "-b", base,
        "-F", "raw" if kind == "raw base" else "qcow2", top,
    )  # fmt: skip
    assert names_on(base) == ["top"]
    assert asked("expand", base).code == 3


def test_linked_clone_of_proxmox_lies_in_the_folder_of_another_machine(
    copied: Copier, tmp_path: Path
) -> None:
    base = tmp_path / "images/9000/base-9000-disk-0.qcow2"
    clone = tmp_path / "images/101/vm-101-disk-0.qcow2"
    for image in (base, clone):
        image.parent.mkdir(parents=True)
    copied("guest.qcow2").rename(base)
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", f"../9000/{base.name}", "-F", "qcow2",
        clone,
    )  # fmt: skip
    assert names_on(base) == [clone.name]
    assert asked("expand", base).code == 3
    assert names_on(clone) == []


@pytest.mark.parametrize("raw", ["on", "off"])
def test_file_that_holds_the_data_of_an_image_is_not_written_to_past_it(
    tmp_path: Path, raw: str
) -> None:
    data = tmp_path / "data"
    qemu_img(
        "create", "-q", "-f", "qcow2", "-o", f"data_file={data},data_file_raw={raw}",
        tmp_path / "x.qcow2", "64M",
    )  # fmt: skip
    assert names_on(data) == ["x.qcow2"]
    answer = in_process("image", "resize", "-f", "raw", data, "+1M")
    assert (answer.code, "x.qcow2" in answer.err) == (3, True)
    assert in_process("image", "resize", tmp_path / "x.qcow2", "+1M").code == 0


def test_data_file_that_two_images_share_is_written_to_by_neither(tmp_path: Path) -> None:
    data, one, other = (tmp_path / name for name in ("data", "one.qcow2", "other.qcow2"))
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data}", one, "64M")
    other.write_bytes(one.read_bytes())
    answer = in_process("image", "resize", one, "+1M")
    assert (answer.code, "other.qcow2" in answer.err) == (3, True)


def test_merging_an_overlay_down_spoils_only_the_others(copied: Copier) -> None:
    base = copied("guest.qcow2")
    middle = overlay(base, "middle.qcow2")
    overlay(middle, "top.qcow2")
    run("qemu-io", "-c", "write -P 7 100M 64k", "-f", "qcow2", middle)
    assert in_process("image", "commit", middle).code == 0
    other = overlay(base, "other.qcow2")
    answer = in_process("image", "commit", middle)
    assert (answer.code, "other.qcow2" in answer.err, "top.qcow2" in answer.err) == (3, True, False)
    assert in_process("image", "commit", "--overlays-may-break", middle).code == 0
    assert in_process("image", "rebase", "-b", "", other).code == 0
    assert in_process("image", "commit", middle).code == 0


@pytest.mark.parametrize("verb", ["rollback", "resume"])
def test_overlay_that_was_put_on_a_run_hinders_its_end(copied: Copier, verb: str) -> None:
    base = copied("guest.qcow2")
    run_on(
        base, keep=verb == "rollback", dies_at=None if verb == "rollback" else "rewrite-partitions"
    )
    overlay(base, "top.qcow2")
    answer = in_process(verb, base)
    assert (answer.code, "top.qcow2" in answer.err) == (3, True)
    assert in_process(verb, "--overlays-may-break", base).code == 0


def test_accepting_a_run_shows_through_to_nobody(copied: Copier) -> None:
    base = copied("guest.qcow2")
    run_on(base, keep=True)
    overlay(base, "top.qcow2")
    assert in_process("commit", base).code == 0


def test_show_names_what_lies_on_an_image(copied: Copier) -> None:
    base = copied("guest.qcow2")
    assert "overlays" not in in_process("show", base, "--json").json()
    top = overlay(base, "top.qcow2")
    assert f"other images lie on it: {top}" in in_process("show", base).out
    assert in_process("show", base, "--json").json()["overlays"] == [str(top)]
    assert "other images" not in in_process("show", top).out


def test_info_names_what_lies_on_an_image_and_keeps_the_keys_of_qemu_img(copied: Copier) -> None:
    base = copied("guest.qcow2")
    sync_file(base)  # what the host counts of it is another number once it is written out
    without = in_process("image", "info", base).out
    top = overlay(base, "top.qcow2")
    assert in_process("image", "info", base).out == f"{without}Images that lie on it:\n    {top}\n"
    assert in_process("image", "info", base, "--json").json() == json.loads(
        qemu_img("info", "--output=json", base)
    )


def test_folder_of_everything_else_hinders_nobody(copied: Copier) -> None:
    base = copied("guest.qcow2")
    folder = base.parent
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "dead").symlink_to(folder / "nothing")
    (folder / "sub.qcow2").mkdir()
    (folder / "empty").touch()
    (folder / "short").write_bytes(b"QFI\xfb\0\0\0\3")
    (folder / "deep").write_bytes(_image_naming(b"json:" + b"[" * 1000))
    (folder / "no text").write_bytes(_image_naming(b"\xff\xfe\0x"))
    (folder / "liar").write_bytes(b"QFI\xfb\0\0\0\3" + b"\xff" * 4096)
    (folder / "other.qcow2").write_bytes(_image_naming(b"nbd://localhost/x"))
    assert names_on(base) == []
    assert asked("resize", base).code == 0


def _image_naming(name: bytes) -> bytes:
    """The start of a qcow2 image whose backing file has this name."""
    start = (
        b"QFI\xfb"
        + (3).to_bytes(4, "big")
        + (512).to_bytes(8, "big")
        + len(name).to_bytes(4, "big")
    )
    return start.ljust(512, b"\0") + name


def test_image_with_features_of_the_future_still_lies_on_its_base(copied: Copier) -> None:
    base = copied("guest.qcow2")
    top = overlay(base, "top.qcow2")
    with top.open("r+b") as file:
        file.seek(72)
        file.write((1 << 40).to_bytes(8, "big"))
    assert names_on(base) == ["top.qcow2"]


def test_overlay_whose_base_grew_says_what_is_the_likely_cause(copied: Copier) -> None:
    base = copied("guest.qcow2")
    top = overlay(base, "top.qcow2")
    assert in_process("expand", base, "+1G", "--overlays-may-break").code == 0
    for verb in ("show", "plan"):
        answer = in_process(verb, top)
        assert (answer.code, "lies outside the disk" in answer.err) == (3, True)
        assert "guest.qcow2 below it was changed" in answer.err, answer.err


def test_the_test_images_are_sound(copied: Copier) -> None:
    """The overlays above are read by our own engine as well, not only by QEMU."""
    base = copied("guest.qcow2")
    with Qcow2Image.open(overlay(base, "top.qcow2", f"file:{base}")) as image:
        assert image.backing is not None

"""The JSON Schema in the package holds for what growdisk really prints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conftest import DiskMaker
from tests.guests.tools import run
from tests.unit.cli.command import in_process

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "growdisk/schema/growdisk-1.schema.json").read_text()
)


def assert_valid(document: Any, kind: str) -> None:
    """`document` is what $defs calls `kind`, with no key that the schema does not know."""
    wanted = {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}
    jsonschema.validate(document, wanted, cls=jsonschema.Draft202012Validator)


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    image = small_disk()
    image.with_name(f"{image.name}.rules").write_text(
        f"rules: [{{images: {image}, when_used: 0.5%}}]"
    )
    return image


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("show", "IMAGE"), "show"),
        (("list", "IMAGE", "IMAGE.none"), "list"),
        (("watch", "IMAGE.rules", "-n"), "watch"),
        (("plan", "IMAGE", "+64M"), "result"),
        (("plan", "IMAGE", "+64M", "--swap", "file"), "result"),
        (("status", "IMAGE"), "status"),
        (("plan", "IMAGE", "+64M", "--partition", "9"), "refusal"),
        (("plan", "IMAGE", "12"), "refusal"),
        (("show", "IMAGE.none"), "refusal"),
        (("nonsense",), "refusal"),
        (("doctor", "--quick"), "doctor"),
        (("provision", "IMAGE", "IMAGE.new", "--size", "+64M", "-n"), "provision"),
        (("run", "expand-root", "-e", "target=IMAGE", "--check"), "run"),
    ],
)
def test_what_is_printed_is_what_the_schema_says(
    image: Path, words: tuple[str, ...], kind: str
) -> None:
    answer = in_process(*(word.replace("IMAGE", str(image)) for word in words), "--json")
    assert_valid(answer.json(), kind)
    jsonschema.validate(answer.json(), SCHEMA, cls=jsonschema.Draft202012Validator)


def test_a_disk_without_a_table(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    run("mke2fs", "-q", "-t", "ext4", disk, "64M")
    for words, kind in (
        (("show", disk), "show"),
        (("plan", disk, "+64M"), "result"),
        (("expand", disk, "+64M"), "result"),
        (("resume", disk), "result"),
    ):
        assert_valid(in_process(*words, "--json").json(), kind)


def test_an_image_that_others_lie_on(image: Path) -> None:
    in_process("image", "overlay", image, image.with_name("overlay.qcow2"))
    assert in_process("show", image, "--json").json()["overlays"]
    for shown in (image, image.with_name("overlay.qcow2")):
        assert_valid(in_process("show", shown, "--json").json(), "show")


def test_a_kept_run_and_its_ends(image: Path) -> None:
    for words, kind in (
        (("expand", image, "+64M", "--keep-snapshots"), "result"),
        (("status", image), "status"),
        (("show", image), "show"),
        (("expand", image, "+64M"), "refusal"),
        (("rollback", image), "result"),
        (("status", image), "status"),
        (("expand", image), "result"),
        (("commit", image), "refusal"),
    ):
        assert_valid(in_process(*words, "--json").json(), kind)


def test_each_event(image: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    in_process("expand", image, "+64M", "--events-fd", str(writing), "-q")
    in_process("image", "convert", image, tmp_path / "copy.raw", "--events-fd", str(writing))
    os.close(writing)
    with os.fdopen(reading) as lines:
        events = [json.loads(line) for line in lines]
    assert {event["event"] for event in events} == {"step-started", "step-ended", "progress"}
    for event in events:
        assert_valid(event, "event")

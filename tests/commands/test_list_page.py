"""list --html: one page that needs nothing else, whatever the disks in it are called."""

from __future__ import annotations

import html
import os
import re
import shutil
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from growdisk.api.fleet.values import DiskEntry, FileSystemUse, Hindrance, Stretch
from growdisk.cli.fleet_page import page as rendered
from growdisk.cli.parser import parsed
from tests.conftest import DiskMaker
from tests.unit.cli.command import in_process

HOSTILE = 'x"><script>alert(1)</script><img src=q onerror=alert(2)>.qcow2'.replace("/", "_")
TEXT = ("text", "soft", "link", "calm", "tight", "full")
USE = FileSystemUse("sda1", "ext4", 100, 95)
FULL = DiskEntry(
    "web", "web.qcow2", state="off", format="raw", virtual_size=100, file_systems=(USE,), root=USE
)
_VOID = ("meta", "img", "br", "hr", "input", "link")


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the texts of headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "h2":
            self.headings.append("")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "h2":
            self.headings[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def made(*words: str | Path, path: Path) -> Page:
    assert in_process("list", *words, "--html", path, "-q").code == 0
    return Page(path.read_text())


def test_the_page_has_each_disk_drawn_and_what_to_do_next(
    small_disk: DiskMaker, tmp_path: Path
) -> None:
    image = small_disk()
    (tmp_path / "broken.qcow2").write_text("no image")
    page = made(image, tmp_path / "broken.qcow2", path=tmp_path / "disks.html")
    assert sorted(page.headings) == sorted([str(image), str(tmp_path / "broken.qcow2")])
    drawings = [attributes for attributes in page.named("div") if attributes.get("role") == "img"]
    assert len(drawings) == 1
    assert "sda1 ext4" in str(drawings[0]["aria-label"]) and "swap" in str(
        drawings[0]["aria-label"]
    )
    assert f"growdisk show {tmp_path / 'broken.qcow2'}" in (tmp_path / "disks.html").read_text()


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"error": {"what": "x", "why": ""}}, "show {path}"),
        ({"error": {"what": "x", "why": ""}, "domain": "web"}, "show -d web"),
        ({"error": {"what": "x", "why": ""}, "domain": "web", "state": "running"}, "show -d web"),
        ({"domain": "web"}, "plan -d web +10G"),
        ({"domain": "web", "name": "web:vdb", "target": "vdb"}, "plan -d web --disk vdb +10G"),
        ({"run": "kept", "domain": "web"}, "commit -d web"),
    ],
    ids=str,
)
def test_what_to_do_next_is_a_command_that_there_is(
    tmp_path: Path, changes: dict[str, Any], command: str
) -> None:
    path = tmp_path / "web.qcow2"
    path.touch()
    text = html.unescape(rendered([replace(FULL, path=str(path), **changes)], datetime.now()))
    command = command.format(path=path)
    assert f"growdisk {command}<" in text
    # The parser knows these options: no usage error.
    parsed(command.split())


def test_a_hostile_name_is_text_and_nothing_else(small_disk: DiskMaker, tmp_path: Path) -> None:
    shutil.move(small_disk("plain.qcow2"), tmp_path / HOSTILE)
    page = made(tmp_path / HOSTILE, path=tmp_path / "disks.html")
    assert page.headings == [str(tmp_path / HOSTILE)]
    assert len(page.named("script")) == 1 and page.named("img") == []


def test_what_a_guest_or_libvirt_calls_things_is_text_and_nothing_else() -> None:
    use = FileSystemUse(HOSTILE, HOSTILE, 100, 95, "agent")
    entry = DiskEntry(
        HOSTILE,
        HOSTILE,
        HOSTILE,
        state="running",
        format="raw",
        virtual_size=100,
        file_systems=(use,),
        root=use,
        hinders=(Hindrance(HOSTILE, HOSTILE, HOSTILE, (HOSTILE,)),),
        stretches=(Stretch(HOSTILE, 0, 100, HOSTILE),),
        note=HOSTILE,
        error=None,
    )
    page = Page(
        text := rendered(
            [entry, replace(entry, error={"what": HOSTILE, "why": HOSTILE})], datetime.now()
        )
    )
    assert page.headings == [HOSTILE, HOSTILE]
    assert len(page.named("script")) == 1 and page.named("img") == []
    assert "growdisk plan -d 'x" in html.unescape(text)
    assert {
        attribute for _, found in page.elements for attribute in found if attribute.startswith("on")
    } == set()


def test_all_that_can_be_clicked_can_be_reached_by_keyboard() -> None:
    """Real buttons and summaries, in order: a browser lets Tab, Enter and Space work on these."""
    page = Page(text := rendered([FULL], datetime.now()))
    assert [button["data-key"] for button in page.named("button")] == [
        "fullness",
        "name",
        "size",
        "idle",
    ]
    assert [button["aria-pressed"] for button in page.named("button")] == [
        "true",
        "false",
        "false",
        "false",
    ]
    assert {button["type"] for button in page.named("button")} == {"button"}
    assert {f"data-{key['data-key']}" for key in page.named("button")} <= {
        attribute for item in page.named("li") for attribute in item
    }
    assert len(page.named("details")) == len(page.named("summary")) == 1
    assert [attributes for _, attributes in page.elements if "tabindex" in attributes] == []
    assert ":focus-visible { outline: 3px" in text and "outline: none" not in text


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_it_can_be_read_by_day_and_by_night(scheme: int) -> None:
    """Contrast is at least 4.5 to 1 for text, 3 to 1 for drawings (WCAG 2.1, 1.4.3, 1.4.11)."""
    style = rendered([FULL], datetime.now()).partition("<style>")[2].partition("</style>")[0]
    colours = dict(re.findall(r"--(\w+): (#\w+)", style.split(":root")[scheme + 1]))
    text = {
        name: [contrast(colours[name], colours[on]) for on in ("back", "card")] for name in TEXT
    }
    assert {name: ratios for name, ratios in text.items() if min(ratios) < 4.5} == {}
    drawn = {name: contrast(colours[name], colours["free"]) for name in ("calm", "tight", "full")}
    assert {name: ratio for name, ratio in drawn.items() if ratio < 3} == {}


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, "contrast ratio" and "relative luminance"."""
    darker, lighter = sorted(luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_asks_nobody_for_anything(small_disk: DiskMaker, tmp_path: Path) -> None:
    page = made(small_disk(), path=tmp_path / "disks.html")
    outside = [
        (tag, name)
        for tag, found in page.elements
        for name in ("src", "href", "action")
        if name in found
    ]
    assert outside == [] and page.named("link") == []
    (policy,) = [str(meta["content"]) for meta in page.named("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_a_page_that_cannot_be_written_is_told(small_disk: DiskMaker, tmp_path: Path) -> None:
    answer = in_process("list", small_disk(), "--html", tmp_path / "none" / "disks.html", "--json")
    assert (answer.code, answer.json()["error"]["code"]) == (2, 2)
    assert os.listdir(tmp_path) == ["guest.qcow2"]  # noqa: PTH208

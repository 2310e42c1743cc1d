"""list --html: one page that needs nothing else, whatever the disks in it are called."""

from __future__ import annotations

import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

from tests.conftest import DiskMaker
from tests.unit.cli.command import in_process

HOSTILE = 'x"><script>alert(1)</script><img src=q onerror=alert(2)>.qcow2'.replace("/", "_")
_VOID = ("meta", "img", "br", "hr", "input", "link")


class Page(HTMLParser):
    """What a browser would see: which elements there are, with which attributes, and the texts in headings."""

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


def test_the_page_has_each_disk_drawn_and_what_to_do_next(small_disk: DiskMaker, tmp_path: Path) -> None:
    image = small_disk()
    (tmp_path / "broken.qcow2").write_text("no image")
    page = made(image, tmp_path / "broken.qcow2", path=tmp_path / "disks.html")
    assert sorted(page.headings) == sorted([str(image), str(tmp_path / "broken.qcow2")])
    drawings = [attributes for attributes in page.named("div") if attributes.get("role") == "img"]
    assert len(drawings) == 1
    assert "sda1 ext4" in str(drawings[0]["aria-label"]) and "swap" in str(drawings[0]["aria-label"])
    assert f"growdisk image check {tmp_path / 'broken.qcow2'}" in (tmp_path / "disks.html").read_text()


def test_a_hostile_name_is_text_and_nothing_else(small_disk: DiskMaker, tmp_path: Path) -> None:
    shutil.move(small_disk("plain.qcow2"), tmp_path / HOSTILE)
    page = made(tmp_path / HOSTILE, path=tmp_path / "disks.html")
    assert page.headings == [str(tmp_path / HOSTILE)]
    assert len(page.named("script")) == 1 and page.named("img") == []


def test_the_page_asks_nobody_for_anything(small_disk: DiskMaker, tmp_path: Path) -> None:
    page = made(small_disk(), path=tmp_path / "disks.html")
    outside = [(tag, name) for tag, found in page.elements for name in ("src", "href", "action") if name in found]
    assert outside == [] and page.named("link") == []
    (policy,) = [str(meta["content"]) for meta in page.named("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'")


def test_a_page_that_cannot_be_written_is_told(small_disk: DiskMaker, tmp_path: Path) -> None:
    answer = in_process("list", small_disk(), "--html", tmp_path / "none" / "disks.html", "--json")
    assert (answer.code, answer.json()["error"]["code"]) == (2, 2)
    assert os.listdir(tmp_path) == ["guest.qcow2"]  # noqa: PTH208

"""Whether a kernel can run as a program here: reported once, with the cure, and cached."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.backends import uml
from growdisk.backends.appliance import ApplianceFailed
from growdisk.backends.available import why_no_uml
from growdisk.host.probe_cache import cached_probe
from tests.e2e.process import need


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    need("uml")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "growdisk"


def test_where_it_is_not_installed_its_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uml, "MODULES", tmp_path / "none")
    assert str(why_no_uml()) == "linux.uml is not installed: sudo apt-get install user-mode-linux"


def test_it_is_tried_for_real_and_the_answer_is_remembered(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert why_no_uml() is None
    assert [path.name.partition("-")[0] for path in cache.iterdir()] == ["uml"]
    monkeypatch.setattr(uml, "launch", _fails)
    assert why_no_uml() is None
    found = why_no_uml(fresh=True)
    assert (
        found is not None
        and "ptrace: Operation not permitted" in found.reason
        and "ptrace" in found.cure
    )
    assert why_no_uml() == found


def _fails(*_: object, **__: object) -> None:
    raise ApplianceFailed("ptrace: Operation not permitted", name="the user-mode kernel")


def test_a_record_is_valid_for_the_facts_it_was_made_of(cache: Path) -> None:
    def probed(fact: int, answer: str, *, fresh: bool = False) -> str:
        return cached_probe("this", [fact], lambda: {"reason": answer}, fresh=fresh)["reason"]

    assert probed(1, "bad") == probed(1, "unasked") == "bad"
    assert probed(1, "asked again", fresh=True) == probed(1, "unasked") == "asked again"
    assert probed(2, "worse") == "worse"
    assert probed(1, "only the last is kept") == "only the last is kept"
    for path in cache.iterdir():
        path.write_text("no JSON")
    assert probed(1, "made anew") == "made anew"

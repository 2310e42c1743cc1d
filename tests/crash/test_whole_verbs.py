"""Verbs that make files, or change an image, as whole commands: killed, then typed again.

The second one ends well, or says that what it was to make is there; nothing half made stays.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash.whole import Host
from tests.crash.whole_disks import assert_sound, make_disk

#: DISKS is the folder of disks.
VERBS = {
    "create": "image create DISKS/new.qcow2 64M",
    "create, full": "image create DISKS/new.raw 16M -o preallocation=full",
    "overlay": "image overlay DISKS/base.qcow2 DISKS/new.qcow2",
    "convert": "image convert DISKS/base.qcow2 DISKS/new.raw",
    "convert, compressed": "image convert -c DISKS/disk.raw DISKS/new.qcow2",
    "copy": "image copy DISKS/disk.raw DISKS/new.raw",
    "read": "image read DISKS/base.qcow2 1M 1M DISKS/new.bytes",
    "write": "image write DISKS/alone.qcow2 3M DISKS/bytes",
    "resize": "image resize DISKS/alone.qcow2 8T",
    "resize, raw": "image resize DISKS/disk.raw 32M --preallocation full",
    "snapshot": "image snapshot create DISKS/alone.qcow2 two",
    "back to a snapshot": "image snapshot apply DISKS/alone.qcow2 one",
    "no snapshot": "image snapshot delete DISKS/alone.qcow2 one",
    "compact": "image compact DISKS/alone.qcow2",
    "list": "list DISKS --html DISKS/new.html",
    "metrics": "watch DISKS/rules.yml --metrics DISKS/new.prom",
    "script": "script DISKS/base.qcow2 32M -o DISKS/new",
    "collection": "collection install -p DISKS/new",
}
_RULES = "rules:\n  - images: base.qcow2\n    when_used: 99%\n"
#: What says that it is there, or gone, already.
_ALREADY = {"destination-exists", "snapshot-exists", "snapshot-not-found"}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    pristine = tmp_path / "pristine"
    pristine.mkdir()
    for name in ("base.qcow2", "alone.qcow2", "disk.raw"):
        make_disk(pristine / name)
    subprocess.run(["qemu-img", "snapshot", "-c", "one", pristine / "alone.qcow2"], check=True)
    (pristine / "bytes").write_bytes(bytes(range(256)) * 400)
    (pristine / "rules.yml").write_text(_RULES)
    return Host(tmp_path / "host", pristine)


def killed(host: Host, verb: str, which: Iterable[int] | None = None) -> None:
    """At `which` of its changes, or at two of them."""
    words = VERBS[verb].replace("DISKS", str(host.disks)).split()
    host.reset()
    changes = host.changes(*words)
    made = contents(host)
    for change in which or (changes // 3, changes - 2):
        if not 0 <= change < changes:
            continue
        host.reset()
        if host.command(*words, dies_before=change) is not None:
            break  # how a disk is read and copied varies a little
        again = host.command(*words, "--json")
        assert again is not None
        try:
            said = again.json().get("error", {}).get("id")
            assert (again.code, said) == (0, None) or (again.code == 3 and said in _ALREADY)
            assert contents(host) == made
            for image in host.disks.glob("*.qcow2"):
                if image.name == "alone.qcow2":  # that is the most that may be
                    host.answer("image", "check", "-r", "leaks", image)
                assert_sound(image)
            known = str(host.disks / "new")
            assert [left for left in host.left_over() if not left.startswith(known)] == []
        except AssertionError as error:
            raise AssertionError(f"{verb}, killed before {change}: {again}: {error}") from error


def contents(host: Host) -> set[Path]:
    return {path.relative_to(host.disks) for path in host.disks.rglob("*")}


@pytest.mark.parametrize("verb", ["convert", "script", "collection"])
def test_a_verb_that_is_killed_can_be_typed_again(host: Host, verb: str) -> None:
    killed(host, verb)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_any_verb_that_is_killed_at_any_change_can_be_typed_again(host: Host, verb: str) -> None:
    killed(host, verb, range(300))

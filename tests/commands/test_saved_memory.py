"""A machine whose memory is saved goes on with what it knew of its disk: that must stay."""

from __future__ import annotations

import pytest

from tests.conftest import Copier
from tests.oracle.qemu import qemu_img
from tests.unit.cli.command import fingerprint, in_process
from tests.unit.cli.runs import run_on


@pytest.fixture
def suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host of Proxmox, which has this in a file of its own cluster."""
    monkeypatch.setattr("growdisk.api.guard.suspended_with", lambda path: "101")


@pytest.mark.usefixtures("suspended")
@pytest.mark.parametrize(
    "words",
    [
        ("expand", "IMAGE", "+64M"),
        ("image", "resize", "IMAGE", "+64M"),
        ("image", "compact", "IMAGE"),
        ("image", "snapshot", "apply", "IMAGE", "mine"),
    ],
    ids=lambda words: "-".join(words[:-1]),
)
def test_consent_to_break_overlays_is_none_to_break_such_a_machine(
    copied: Copier, words: tuple[str, ...]
) -> None:
    image = copied("guest.qcow2")
    qemu_img("snapshot", "-c", "mine", image)
    before = fingerprint(image)
    asked = [str(image) if word == "IMAGE" else word for word in words]
    for consent in ((), ("--overlays-may-break",)):
        answer = in_process(*asked, *consent, "--json")
        assert (answer.code, answer.json()["error"]["id"]) == (3, "memory-saved"), answer
    assert fingerprint(image) == before


def test_a_run_is_not_gone_on_with_but_a_kept_one_is_accepted(
    copied: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, unfinished = copied("guest.qcow2", "kept.qcow2"), copied("guest.raw")
    run_on(kept, keep=True)
    run_on(unfinished, dies_at="rewrite-partitions")
    monkeypatch.setattr("growdisk.api.guard.suspended_with", lambda path: "101")
    for verb, image, consent in (
        ("rollback", kept, "--overlays-may-break"),
        ("resume", unfinished, "--overlays-may-break"),
        ("rollback", unfinished, "--overlays-may-break"),
        ("commit", unfinished, "--force"),
    ):
        answer = in_process(verb, image, consent, "--json")
        assert (answer.code, answer.json()["error"]["id"]) == (3, "memory-saved"), (verb, answer)
    assert in_process("commit", kept).code == 0

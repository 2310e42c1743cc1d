"""SIGKILL while containers and volumes are open: resume finishes LUKS with LVM, rollback undoes."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.backends.available import why_no_uml
from tests.e2e.dying import Death, die
from tests.e2e.judges import assert_sound
from tests.e2e.process import Host
from tests.guests.appliance import device, quick_bench
from tests.guests.layered import KEYS, layered_guests
from tests.guests.tools import run

pytestmark = [pytest.mark.appliance, pytest.mark.slow, pytest.mark.timeout(1800)]

_LAYERS = (("applying", "grow-luks"), ("applying", "grow-pv"), ("applying", "grow-lv"),
    ("applied", "grow-lv"),
           ("applying", "grow-filesystem"))  # fmt: skip
DEATHS = {  # a kernel that runs as a program has done each in a fraction of a second
    "guestfs": tuple(
        Death(*at, within) for at, within in zip(_LAYERS, (1.0, 0.5, 0.5, 0.1, 0.8), strict=True)
    ),
    "uml": tuple(
        Death(*at, within) for at, within in zip(_LAYERS, (0.1, 0.1, 0.1, 0.02, 0.05), strict=True)
    ),
}
WORDS = ("+256M", "--lv-share", "60%")


def _work_with(host: Host, backend: str) -> None:
    if backend == "uml" and (reason := why_no_uml()):
        pytest.skip(f"no kernel runs as a program here: {reason}")
    host.backend = backend


@pytest.fixture
def guest(tmp_path: Path) -> tuple[Path, Path]:
    image, key = tmp_path / "luks2.qcow2", tmp_path / "key"
    run("qemu-img", "convert", "-O", "qcow2", layered_guests() / "luks2.raw", image)
    key.write_bytes(KEYS["luks2"])
    return image, key


@pytest.mark.parametrize("backend", DEATHS)
def test_killed_in_each_layer_it_is_finished_by_resume(
    guest: tuple[Path, Path], host: Host, backend: str
) -> None:
    _work_with(host, backend)
    image, key = guest
    die(host, image, DEATHS[backend][0], "expand", image, *WORDS, "--key-file", key)
    for death in DEATHS[backend][1:]:
        die(host, image, death, "resume", image, "--key-file", key)
    answer = host.growdisk("resume", image, "--key-file", key)
    assert (answer.code, answer.result) in ((0, "changed"), (0, "nochange")), answer
    assert_sound(image)
    with quick_bench([image], read_only=True) as judge:
        given = judge.give(KEYS["luks2"])
        judge.run(f"cryptsetup open --readonly --key-file {given} {device('luks2', 2)} inside")
        judge.run("lvm vgchange -ay crypt >&2; e2fsck -fn /dev/crypt/root")
        said = judge.run("dumpe2fs -h /dev/crypt/root 2>/dev/null | grep -E '^Block (count|size)'")
        said += judge.run("blockdev --getsize64 /dev/crypt/root")
    blocks, block_size, device_size = (int(line.split()[-1]) for line in said.splitlines())
    assert blocks * block_size == device_size
    again = host.growdisk(
        "expand", image, "--partition", "2", "--key-file", key, "--lv-share", "0%"
    )
    assert (again.code, again.result) == (0, "nochange"), again


@pytest.mark.parametrize(
    ("backend", "death"),
    [(name, death) for name, deaths in DEATHS.items() for death in deaths[1:]],
    ids=str,
)
def test_killed_in_any_layer_it_is_undone_by_rollback(
    guest: tuple[Path, Path], host: Host, backend: str, death: Death
) -> None:
    _work_with(host, backend)
    image, key = guest
    die(host, image, death, "expand", image, *WORDS, "--key-file", key)
    answer = host.growdisk("rollback", image)
    assert (answer.code, answer.result) == (0, "restored"), answer
    run("qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, layered_guests() / "luks2.raw")

"""The documentation is true: its commands run, its links work, the README stays short."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from growdisk.cli.parser import own_words, parsed
from tests.docs.pages import PAGES, ROOT, Block, all_blocks, anchors, links
from tests.guests.debian_files import debian_files
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.unit.cli.command import GROWDISK, environment

SHELL = ("", "sh")
SHOWN = [block for block in all_blocks() if block.language in SHELL and "growdisk " in block.body]
RUN = [block for block in SHOWN if not block.skipped]
PYTHON = [block for block in all_blocks() if block.language == "python" and not block.skipped]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) < 8000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_growdisk_understands_every_command_that_is_shown(block: Block) -> None:
    for command in block.commands:
        if command.startswith("growdisk ") and "…" not in command and "|" not in command:
            assert parsed(own_words(shlex.split(command.partition(" > ")[0])[1:])), command


# --- run them -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disks")
    system = tuple(debian_files())
    make_disk(folder / "guest.qcow2", SmallDisk(extra_files=system))
    make_disk(folder / "jammy.qcow2", SmallDisk(Layout.GPT_CLOUD, extra_files=system))
    make_disk(folder / "guest.raw", SmallDisk(image_format="raw", extra_files=system))
    return folder


@pytest.fixture
def world(disks: Path, tmp_path: Path) -> Path:
    """A folder with the files that the pages speak of."""
    for name in ("guest.qcow2", "base.qcow2", "images/one.qcow2", "images/two.qcow2"):
        _copy(disks / "guest.qcow2", tmp_path / name)
    _copy(disks / "jammy.qcow2", tmp_path / "jammy.qcow2")
    for name in ("guest.raw", "image.raw"):
        _copy(disks / "guest.raw", tmp_path / name)
    run(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2",
        tmp_path / "overlay.qcow2",
    )  # fmt: skip
    (tmp_path / ".ssh").mkdir()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / ".ssh/id_ed25519")
    return tmp_path


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    run("cp", "--sparse=always", source, target)


@pytest.mark.parametrize("block", RUN, ids=str)
def test_the_commands_of_a_page_run(block: Block, world: Path) -> None:
    """All lines of a block, one after the other, in one folder: each ends with 0."""
    env = {**environment(), "HOME": str(world), "PATH": f"{GROWDISK.parent}:{os.environ['PATH']}"}
    for command in block.commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=world,
            env=env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_the_python_of_a_page_runs(
    block: Block, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    from growdisk import api

    exec(compile(block.body, str(block), "exec"), {"api": api})

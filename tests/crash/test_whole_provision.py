"""growdisk provision as a whole, killed at any change of the host, then done again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.crash.whole import Host, some
from tests.crash.whole_disks import assert_file_system, assert_sound, make_disk, virtual_size

KINDS: dict[str, tuple[str, ...]] = {
    "copy and seed": ("--seed",),
    "overlay": ("--overlay",),
    "compressed": ("--compress",),
}


class Provisioning:
    def __init__(self, folder: Path, kind: str) -> None:
        pristine = folder / "pristine"
        pristine.mkdir()
        base = make_disk(pristine / "base.qcow2")
        self.host = Host(folder / "host", pristine)
        self.out, self.base = self.host.disks / "out.qcow2", base.read_bytes()
        self.words = (
            "provision", self.host.disks / "base.qcow2", self.out, "--size", "32M",
            "--backend", "direct", *KINDS[kind],
        )  # fmt: skip
        self.changes = self.host.changes(*self.words)
        self.files = {path.name for path in self.host.disks.iterdir()}
        self.judge()

    def judge(self) -> None:
        assert {path.name for path in self.host.disks.iterdir()} == self.files
        assert virtual_size(self.out) == 32 << 20
        assert_sound(self.out)
        assert_file_system(self.out)
        assert (self.host.disks / "base.qcow2").read_bytes() == self.base
        for name in self.files - {"base.qcow2"}:
            (self.host.disks / name).unlink()
        assert self.host.left_over() == []

    def killed(self, changes: Iterable[int]) -> None:
        for change in changes:
            self.host.reset()
            if self.host.command(*self.words, dies_before=change) is not None:
                break  # how a disk is read and copied varies a little
            try:
                self.finish()
            except Exception as error:
                raise AssertionError(f"killed before change {change}: {error}") from error

    def finish(self) -> None:
        made = {path for path in self.host.disks.iterdir() if not path.name.startswith(".")}
        listed = self.host.answer("list", self.host.disks, "--json").json()["disks"]
        assert {Path(disk["path"]) for disk in listed} == {
            path for path in made if path.suffix == ".qcow2"
        }
        if self.out.exists():  # it is whole; what goes beside it may not be there yet
            assert_file_system(self.out)
            refused = self.host.answer(*self.words, "--json", code=3).json()
            assert refused["error"]["id"] == "output-exists"
        self.host.answer(*self.words, *(["--force"] if self.out.exists() else []))
        self.judge()


def test_a_provision_that_is_killed_is_done_again(tmp_path: Path) -> None:
    provisioning = Provisioning(tmp_path, "copy and seed")
    provisioning.killed(some(provisioning.changes))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_provision_that_is_killed_at_any_change(tmp_path: Path, kind: str) -> None:
    provisioning = Provisioning(tmp_path, kind)
    provisioning.killed(range(provisioning.changes))

"""An expand on a small host, what a user would type next, and what must be true then."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.crash.whole import Host
from tests.crash.whole_disks import NEW, assert_file_system, assert_same, make_disk

DIRECT = ("--backend", "direct")
KINDS = {
    "internal": ("guest.qcow2",),
    "overlay": ("guest.raw",),
    "internal, beside raw": ("guest.qcow2", "other.raw"),
    "overlay, beside qcow2": ("guest.raw", "other.qcow2"),
}


class Expansion:
    """An expand on a host, and how its disks are after it."""

    def __init__(self, folder: Path, kind: str, *options: str) -> None:
        pristine, self.grown = folder / "pristine", folder / "grown"
        pristine.mkdir()
        self.names, self.keep = KINDS[kind], "--keep-snapshots" in options
        for name in self.names:
            # one without a file system is grown in half the time; the other shows that one grows
            make_disk(pristine / name, filesystem=name.startswith("other"))
        self.host = Host(folder / "host", pristine)
        self.image = self.host.disks / self.names[0]
        others = [f"--with={self.host.disks / name}={NEW}" for name in self.names[1:]]
        self.words = ("expand", self.image, NEW, "--partition", "1", *DIRECT, *others, *options)
        self.changes = self.host.changes(*self.words)
        if self.keep:
            self.host.answer("commit", self.image)
        shutil.copytree(self.host.disks, self.grown)
        left = self.host.left_over()
        assert left == [], left  # no rewriting of asserts in this module

    def die(self, change: int) -> bool:
        self.host.reset()
        return self.host.command(*self.words, dies_before=change) is None

    def state(self) -> Any:
        return self.host.answer("status", self.image, "--json").json()

    def assert_looked_at(self, state: str) -> None:
        """All that only looks answers; what would write is refused while a run is open."""
        host, is_open = self.host, state in ("unfinished", "kept")
        listed = host.answer("list", host.disks, "--json").json()["disks"]
        assert [Path(disk["path"]).name for disk in listed] == sorted(self.names)
        for name in self.names:
            image = host.disks / name
            host.answer("image", "info", image)
            host.answer("show", image)
            host.answer("plan", image, "64M", "--partition", "1", code=3 if is_open else 0)
            if is_open:
                refused = host.answer("image", "resize", image, "+1M", "--json", code=3).json()
                assert refused["error"]["id"] == "run-stands-in-the-way"

    def finish(self, change: int) -> str:
        """Go on, or back, as status says; judge it."""
        told = self.state()
        state, grown = told["state"], True
        if change % 3 == 0:
            self.assert_looked_at(state)
        if state == "unfinished":
            verb = told["next"][change // 2 % len(told["next"])]
            self.host.answer(verb, self.image)
            grown = verb == "resume"
        elif state == "undone":
            grown = False
        elif state == "done" and change % 2:
            assert self.host.answer("resume", self.image, "--json").json()["result"] == "nochange"
        elif state != "kept":  # done: nothing to do; none: as if nothing had been
            self.host.answer(*self.words)
        if grown and self.keep and self.state()["state"] == "kept":
            grown = change % 4 < 2
            self.host.answer("commit" if grown else "rollback", self.image)
        self.judge(grown=grown)
        return str(state)

    def judge(self, *, grown: bool) -> None:
        self.judge_disks(grown=grown)
        left = self.host.left_over()
        assert left == [], left  # no rewriting of asserts in this module

    def judge_disks(self, *, grown: bool) -> None:
        for name in self.names:
            image = self.host.disks / name
            assert_same(image, (self.grown if grown else self.host.pristine) / name)
            if name.startswith("other"):
                assert_file_system(image)

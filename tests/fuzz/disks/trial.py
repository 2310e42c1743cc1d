"""One seed from end to end: make the disk, plan, do it, and look for disagreement."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from growdisk.errors import ToolFailed
from tests.fuzz.disks import judging
from tests.fuzz.disks.kernel import Kernel, NotMade, kernel_on
from tests.fuzz.disks.making import Found, close_all, look, make, open_all, things
from tests.fuzz.disks.recipe import KEY, Recipe, recipe

_GROWDISK = Path(sys.executable).with_name("growdisk")
_RAW_WORDS = re.compile(
    r"Report this|report this|Traceback|exit status|in the appliance|needed, but only|wrong fs "
    r"type|internal error"
)
_SECONDS = 900.0


@dataclass
class Outcome:
    """`kind`: not-made, too-slow, not-judged, refused, nothing, grown.

    `faults`: what is wrong; none, and the disk is right.
    """

    seed: int
    kind: str = ""
    faults: list[str] = field(default_factory=list)
    words: str = ""

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.kind} {self.words}",
            *(f"  FAULT {fault}" for fault in self.faults),
        ]
        return "\n".join(lines)


def attempt(seed: int, scratch: Path | None = None) -> Outcome:
    outcome = Outcome(seed)
    with tempfile.TemporaryDirectory(prefix=f"growdisk-disk-{seed}-", dir=scratch) as folder:
        try:
            trial = _Trial(recipe(seed), Path(folder), outcome)
        except NotMade as reason:
            outcome.kind, outcome.words = "not-made", str(reason)[:200]
            return outcome
        try:
            trial.run()
        except subprocess.TimeoutExpired:
            outcome.kind = "too-slow"
        except ToolFailed as error:  # the judge's kernel gives up on file systems that are huge
            outcome.kind, outcome.words = "not-judged", f"{outcome.words}: {error.detail}"
    return outcome


class _Trial:
    def __init__(self, wanted: Recipe, folder: Path, outcome: Outcome) -> None:
        self._recipe, self._folder, self._outcome = wanted, folder, outcome
        self._before_raw, self._key = folder / "before.raw", folder / "key"
        self._before = make(self._before_raw, wanted)
        self._key.write_text(KEY)
        self._image = folder / f"disk.{wanted.image_format}"
        if wanted.image_format == "raw":
            _copy(self._before_raw, self._image)
        else:
            _must("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self._before_raw, self._image)

    def run(self) -> None:
        words = [*([self._recipe.grown] if self._recipe.grown else []), *self._recipe.words]
        if any(thing.kind == "luks" for thing in things(self._recipe)):
            words += ["--key-file", str(self._key)]
        self._outcome.words = " ".join(words)
        plan, planned = self._ask("plan", *words)
        kept = ["--keep-snapshots"] if self._recipe.ending else []
        run, done = self._ask("expand", *words, *kept)
        self._judge_answers(plan, planned, run, done)
        if run == 0 and done.get("result") == "changed":
            self._outcome.kind = "grown"
            self._outcome.faults += self._judge_disk(planned)
            if self._recipe.ending:
                self._outcome.faults += self._judge_ending(self._recipe.ending)
            relative = any(word.startswith("vg") or "%" in word or "=+" in word for word in words)
            if self._recipe.ending == "rollback" or relative:
                return  # again would be more
            again, answer = self._ask("expand", *[w for w in words if w != self._recipe.grown])
            if (again, answer.get("result")) != (0, "nochange"):
                self._fault(f"again: {again} {answer.get('result')} {answer.get('error')}")
        else:
            self._outcome.kind = "nothing" if run == 0 else "refused"
            self._outcome.faults += self._judge_untouched()

    def _fault(self, text: str) -> None:
        self._outcome.faults.append(text)

    def _ask(self, verb: str, *words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [_GROWDISK, "--json", verb, str(self._image), *words], capture_output=True, text=True,
            check=False,
            timeout=_SECONDS, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": "/tmp"},
        )  # fmt: skip
        if "Traceback" in done.stderr or done.returncode == 1:
            self._fault(f"{verb}: a bug: {done.stderr[-700:]}")
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            self._fault(f"{verb}: no JSON: {done.stdout[:300]} {done.stderr[-300:]}")
            return done.returncode, {}

    def _judge_answers(
        self, plan: int, planned: dict[str, Any], run: int, done: dict[str, Any]
    ) -> None:
        error = json.dumps(done.get("error") or planned.get("error"), ensure_ascii=False)
        names = [step["name"] for step in planned.get("steps", [])]
        if len({*names}) < len(names):
            self._fault(f"steps of the same name: {names}")
        if plan != run or plan not in (0, 2, 3):
            self._fault(f"plan gave {plan}, expand gave {run}: {error}")
        elif plan and planned.get("error") != done.get("error"):
            self._fault(f"plan refused by {planned.get('error')}, expand by {done.get('error')}")
        if _RAW_WORDS.search(error):
            self._fault(f"a tool's own words: {error}")
        if plan:
            self._outcome.words += f": {(planned.get('error') or {}).get('why')}"
        elif run == 0 and (found := _sizes(done.get("after"))) != (
            wanted := _sizes(planned.get("after"))
        ):
            self._fault(f"the plan said {wanted}, and the run gave {found}")

    def _judge_ending(self, verb: str) -> Iterator[str]:
        wanted = self._before_raw
        if verb == "commit":
            wanted = self._as_raw().rename(self._folder / "wanted.raw")
        code, answer = self._ask(verb)
        if code:
            yield f"{verb} gave {code}: {answer.get('error')}"
        raw = self._as_raw()
        size, before = raw.stat().st_size, wanted.stat().st_size
        if size != before:
            yield f"{verb}: the disk has {size} bytes instead of {before}"
        yield from (f"{verb}: {found}" for found in judging.other_bytes(wanted, raw, [], before))
        if self._image.with_name(self._image.name + ".growdisk").exists():
            yield f"{verb}: a folder was left beside the image"

    def _judge_untouched(self) -> Iterator[str]:
        raw = self._as_raw()
        yield from judging.other_bytes(self._before_raw, raw, [], self._before_raw.stat().st_size)
        if (
            self._image.with_name(self._image.name + ".growdisk").exists()
            and not self._outcome.faults
        ):
            yield "a folder was left beside the image"

    def _judge_disk(self, planned: dict[str, Any]) -> Iterator[str]:
        raw = self._as_raw()
        if self._recipe.image_format == "qcow2":
            check = subprocess.run(
                ["qemu-img", "check", "-q", self._image],
                capture_output=True,
                text=True,
                check=False,
            )
            if check.returncode:
                yield f"qemu-img check: {check.stdout} {check.stderr}"
        before, after = (judging.look(each, self._recipe.label) for each in (self._before_raw, raw))
        old = {p["number"]: p for p in planned["before"]["partitions"]}
        new = {p["number"]: p for p in planned["after"]["partitions"]}
        gone = set(old) - set(new)
        moved = {n for n in set(old) & set(new) if old[n]["start"] != new[n]["start"]}
        grow = {
            n for n in set(old) & set(new) if n not in moved and self._is_touched(old[n], new[n])
        }
        yield from judging.table_faults(raw, after)
        yield from judging.changed_entries(before, after, grow, gone, moved)
        size = self._before_raw.stat().st_size
        free = judging.free_to_change(before, after, grow, gone, moved, size)
        free += [
            judging.journal(before, slot.number)
            for slot in self._recipe.slots
            if slot.holds.kind == "jbd"
        ]
        yield from judging.other_bytes(self._before_raw, raw, free, size)
        with kernel_on(raw) as kernel:
            yield from self._judge_contents(kernel, gone, grow | moved | {0})

    def _is_touched(self, old: dict[str, Any], new: dict[str, Any]) -> bool:
        def plain(part: dict[str, Any]) -> object:
            content = {k: v for k, v in (part["content"] or {}).items() if k != "used"}
            return part["size"], content

        return plain(old) != plain(new) or any(
            t in ("lvm", "luks") for t in self._kinds(old["number"])
        )

    def _kinds(self, number: int) -> list[str]:
        return [slot.holds.kind for slot in self._recipe.slots if slot.number == number]

    def _judge_contents(self, kernel: Kernel, gone: set[int], touched: set[int]) -> Iterator[str]:
        opened = [each for each in open_all(kernel, self._recipe) if each[2] not in gone]
        sizes = {}
        for device, _, _ in opened:
            status, said = kernel.run(f"blockdev --getsize64 {device}")
            sizes[device] = int(said) if status == 0 and said.strip().isdigit() else 0
        now: list[Found] = look(kernel, opened)
        yield from judging.content_faults(kernel, self._before, now, gone, sizes, touched)
        close_all(kernel, self._recipe)

    def _as_raw(self) -> Path:
        """A copy, which judges may write to."""
        raw = self._folder / "after.raw"
        if self._recipe.image_format == "raw":
            _copy(self._image, raw)
        else:
            _must("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self._image, raw)
        return raw


def _sizes(layout: Any) -> list[tuple[object, ...]]:
    """What a plan promises: places of partitions, and the sizes of what is in them."""
    if not layout:
        return []
    parts = [
        (p["number"], p["start"], p["size"], (p["content"] or {}).get("size"))
        for p in layout["partitions"]
    ]
    volumes = [
        (v.get("name"), v.get("size"), (v.get("content") or {}).get("size"))
        for v in layout["volumes"]
    ]
    return [("image", layout["image"]["virtual_size"]), *parts, *volumes]


def _copy(source: Path, target: Path) -> None:
    _must("cp", "--sparse=always", source, target)


def _must(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)


def folder_for_trials() -> Path:
    place = Path(os.environ.get("FUZZ_DISKS", "/var/tmp"))
    if shutil.disk_usage(place).free < 4 << 30:
        raise SystemExit(f"{place} has less than 4 GiB free")
    return place

"""The image engine against qemu-img, in turn; qemu-img once more with raised caches."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import engine_images
from benchmarks.guests import settle
from benchmarks.measure import GROWDISK, Sample, figure, say, seconds, take_small, times

ROWS = "images"
CACHES = "l2-cache-size=256M,refcount-cache-size=64M"


@dataclass(frozen=True)
class Job:
    """One command of each tool; `{}` is the image, `{new}` a file it makes, `{over}` an overlay.

    RENAMED: afterwards `{new}` gets the image's name.
    """

    name: str
    ours: str
    theirs: str
    tuned: str = ""


_SNAPSHOT = tuple(
    Job(
        name,
        f"image snapshot {name} {{}} s",
        f"snapshot -q {flag} s {{}}",
        f"snapshot -q {flag} s --image-opts {{}}",
    )
    for name, flag in (("create", "-c"), ("apply", "-a"), ("delete", "-d"))
)
_METADATA = (
    Job("info", "image info {}", "info {}"),
    *_SNAPSHOT,
    Job("check", "image check {}", "check -q {}", "check -q --image-opts {}"),
    Job(
        "resize +10G", "image resize {} +10G", "resize -q {} +10G", "resize -q --image-opts {} +10G"
    ),
    Job("map", "image map {} --json", "map --output=json {}", "map --output=json --image-opts {}"),
)
_CONVERT = Job(
    "convert",
    "image convert {} {new}",
    "convert -O qcow2 {} {new}",
    "convert -O qcow2 --image-opts {} {new}",
)
# qemu-img has no compact: what people do instead is to convert, and to rename.
_COMPACT = Job("compact", "image compact {}", "convert -O qcow2 {} {new} RENAMED")
_COMPRESS = Job("convert -c", "image convert -c {} {new}", "convert -c -O qcow2 {} {new}")
# An overlay with 64 MiB of its own goes down into the image.
_COMMIT = Job("commit 64 MiB", "image commit {over}", "commit -q {over}")
_LIST = Job("snapshot list", "image snapshot list {}", "snapshot -l {}")
_FILLED = (
    Job("to qcow2", "image convert {} {new}", "convert -f raw -O qcow2 {} {new}"),
    Job("-c zlib", "image convert -c {} {new}", "convert -c -f raw -O qcow2 {} {new}"),
    Job(
        "-c zstd",
        "image convert -c --compression zstd {} {new}",
        "convert -c -f raw -O qcow2 -o compression_type=zstd {} {new}",
    ),
)


@dataclass(frozen=True)
class Case:
    build: Callable[[Path], None]
    jobs: tuple[Job, ...]
    most: int = 5  # where qemu-img takes minutes a round


CASES = {
    "1 TiB, fully mapped, contiguous": Case(
        engine_images.contiguous, (*_METADATA, _CONVERT, _COMPRESS, _COMMIT, _COMPACT), most=3
    ),
    "100 GiB, fully mapped, contiguous": Case(
        lambda path: engine_images.contiguous(path, "100G"),
        (*_METADATA, _CONVERT, _COMPRESS, _COMMIT, _COMPACT),
    ),
    "16 GiB, clusters shuffled": Case(
        engine_images.shuffled, (*_METADATA, _CONVERT, _COMMIT, _COMPACT), most=3
    ),
    "10 GiB, 96 MiB used": Case(
        engine_images.nearly_empty,
        (_LIST, *_METADATA, _CONVERT, _COMPRESS, _COMMIT, _COMPACT),
        most=9,
    ),
    "512 MiB raw, full of files": Case(engine_images.filled, _FILLED),
}


def names() -> list[str]:
    return list(CASES)


def compare(repeats: int, only: str = "") -> dict[str, Any]:
    """All samples and their medians, by image and operation."""
    load = os.getloadavg()[0]
    images = {}
    for name, case in CASES.items():
        if only in name:
            with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as place:
                base = Path(place) / "base.img"
                case.build(base)
                images[name] = _case(
                    base, case.jobs, case.most if case.most > 5 else min(repeats, case.most)
                )
    return {"raised caches": CACHES, "load before": load, "images": images}


def summary(result: Mapping[str, Any]) -> Iterator[str]:
    """A column an image: growdisk's lead over qemu-img (in brackets: with raised caches)."""
    images = result["images"]
    jobs = list(dict.fromkeys(job for found in images.values() for job in found))
    yield f"| growdisk ahead of qemu-img by (with raised caches) | {' | '.join(images)} |"
    yield "|---|" + "---|" * len(images)
    for job in jobs:
        yield f"| {job} | {' | '.join(_ahead(found.get(job)) for found in images.values())} |"
    peaks = [
        max(tools["growdisk"]["own_peak_kib"] for tools in found.values()) / 1024
        for found in images.values()
    ]
    yield f"| growdisk's peak memory, at most | {' | '.join(f'{peak:.0f} MiB' for peak in peaks)} |"


def _ahead(tools: Mapping[str, Any] | None) -> str:
    if tools is None:
        return "–"
    ours, theirs, tuned = (
        tools.get(name, {}).get("wall") for name in ("growdisk", "qemu-img", "tuned")
    )
    return times(theirs / ours) + ("" if tuned is None else f" ({times(tuned / ours)})")


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    """Ratios to qemu-img: its time over ours, above 1 where growdisk is ahead."""
    for image, jobs in result["images"].items():
        yield f"| {image} | growdisk | qemu-img | ahead by | raised caches | CPU | peak memory |"
        yield "|---|---|---|---|---|---|---|"
        for job, tools in jobs.items():
            yield _row(job, tools["growdisk"], tools["qemu-img"], tools.get("tuned"))
        yield ""


def _row(
    job: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], tuned: Mapping[str, Any] | None
) -> str:
    raised = "" if tuned is None else times(tuned["wall"] / ours["wall"])
    cpu = f"{ours['own_cpu']:.2g} : {theirs['own_cpu']:.2g} s"
    memory = f"{ours['own_peak_kib'] / 1024:.0f} : {theirs['own_peak_kib'] / 1024:.0f} MiB"
    ahead = times(theirs["wall"] / ours["wall"])
    return (
        f"| {job} | {seconds(ours)} | {seconds(theirs)} | {ahead} | {raised} | {cpu} | {memory} |"
    )


def _case(base: Path, jobs: tuple[Job, ...], repeats: int) -> dict[str, dict[str, Any]]:
    samples: dict[str, dict[str, list[Sample]]] = {job.name: {} for job in jobs}
    for number in range(repeats):
        for tool in ("growdisk", "qemu-img", "tuned"):
            say(f"{tool}, round {number + 1} of {repeats}: {', '.join(job.name for job in jobs)}")
            _round(base, tool, jobs, samples)
    return {
        name: {tool: figure(taken) for tool, taken in tools.items()}
        for name, tools in samples.items()
    }


def _round(
    base: Path, tool: str, jobs: tuple[Job, ...], samples: dict[str, dict[str, list[Sample]]]
) -> None:
    """All jobs of one tool, one after another, on one copy of the image."""
    image, new, over = (base.with_name(name) for name in ("image", "new.qcow2", "over.qcow2"))
    subprocess.run(["cp", "--sparse=always", base, image], check=True)
    for job in jobs:
        if argv := _argv(tool, job, image, new, over):
            if str(over) in argv:
                _overlay(image, over)
            settle()  # nobody pays for what was written before
            samples[job.name].setdefault(tool, []).append(take_small(argv))
        for made in (new, over):
            made.unlink(missing_ok=True)
    image.unlink()


def _overlay(image: Path, over: Path) -> None:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", over], check=True
    )
    subprocess.run(
        ["qemu-io", "-c", "write -P 7 1G 64M", over], check=True, stdout=subprocess.DEVNULL
    )


def _argv(tool: str, job: Job, image: Path, new: Path, over: Path) -> list[str]:
    text, program = {
        "growdisk": (job.ours, GROWDISK),
        "qemu-img": (job.theirs, "qemu-img"),
        "tuned": (job.tuned, "qemu-img"),
    }[tool]
    place = f"driver=qcow2,{CACHES},file.filename={image}" if tool == "tuned" else str(image)
    names = {"{}": place, "{new}": str(new), "{over}": str(over)}
    argv = [program, *(names.get(word, word) for word in text.split())] if text else []
    if argv[-1:] == ["RENAMED"]:
        return [
            "sh",
            "-c",
            f"{shlex.join(argv[:-1])} && exec mv {shlex.quote(str(new))} {shlex.quote(place)}",
        ]
    return argv

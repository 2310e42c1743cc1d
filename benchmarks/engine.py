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
class Deed:
    """One command of each tool; `{}` is the image, `{new}` a file it makes, `{over}` an overlay.

    RENAMED: afterwards `{new}` gets the image's name.
    """

    name: str
    ours: str
    theirs: str
    tuned: str = ""


_SNAPSHOT = tuple(
    Deed(
        name,
        f"image snapshot {name} {{}} s",
        f"snapshot -q {flag} s {{}}",
        f"snapshot -q {flag} s --image-opts {{}}",
    )
    for name, flag in (("create", "-c"), ("apply", "-a"), ("delete", "-d"))
)
_METADATA = (
    Deed("info", "image info {}", "info {}"),
    *_SNAPSHOT,
    Deed("check", "image check {}", "check -q {}", "check -q --image-opts {}"),
    Deed(
        "resize +10G", "image resize {} +10G", "resize -q {} +10G", "resize -q --image-opts {} +10G"
    ),
    Deed("map", "image map {} --json", "map --output=json {}", "map --output=json --image-opts {}"),
)
_CONVERT = Deed(
    "convert",
    "image convert {} {new}",
    "convert -O qcow2 {} {new}",
    "convert -O qcow2 --image-opts {} {new}",
)
# qemu-img has no compact: what people do instead is to convert, and to rename.
_COMPACT = Deed("compact", "image compact {}", "convert -O qcow2 {} {new} RENAMED")
_COMPRESS = Deed("convert -c", "image convert -c {} {new}", "convert -c -O qcow2 {} {new}")
# An overlay with 64 MiB of its own goes down into the image.
_COMMIT = Deed("commit 64 MiB", "image commit {over}", "commit -q {over}")
_LIST = Deed("snapshot list", "image snapshot list {}", "snapshot -l {}")
_FILLED = (
    Deed("to qcow2", "image convert {} {new}", "convert -f raw -O qcow2 {} {new}"),
    Deed("-c zlib", "image convert -c {} {new}", "convert -c -f raw -O qcow2 {} {new}"),
    Deed(
        "-c zstd",
        "image convert -c --compression zstd {} {new}",
        "convert -c -f raw -O qcow2 -o compression_type=zstd {} {new}",
    ),
)


@dataclass(frozen=True)
class Case:
    build: Callable[[Path], None]
    deeds: tuple[Deed, ...]
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
                    base, case.deeds, case.most if case.most > 5 else min(repeats, case.most)
                )
    return {"raised caches": CACHES, "load before": load, "images": images}


def summary(result: Mapping[str, Any]) -> Iterator[str]:
    """A column an image: growdisk's lead over qemu-img (in brackets: with raised caches)."""
    images = result["images"]
    deeds = list(dict.fromkeys(deed for found in images.values() for deed in found))
    yield f"| growdisk ahead of qemu-img by (with raised caches) | {' | '.join(images)} |"
    yield "|---|" + "---|" * len(images)
    for deed in deeds:
        yield f"| {deed} | {' | '.join(_ahead(found.get(deed)) for found in images.values())} |"
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
    for image, deeds in result["images"].items():
        yield f"| {image} | growdisk | qemu-img | ahead by | raised caches | CPU | peak memory |"
        yield "|---|---|---|---|---|---|---|"
        for deed, tools in deeds.items():
            yield _row(deed, tools["growdisk"], tools["qemu-img"], tools.get("tuned"))
        yield ""


def _row(
    deed: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], tuned: Mapping[str, Any] | None
) -> str:
    raised = "" if tuned is None else times(tuned["wall"] / ours["wall"])
    cpu = f"{ours['own_cpu']:.2g} : {theirs['own_cpu']:.2g} s"
    memory = f"{ours['own_peak_kib'] / 1024:.0f} : {theirs['own_peak_kib'] / 1024:.0f} MiB"
    ahead = times(theirs["wall"] / ours["wall"])
    return (
        f"| {deed} | {seconds(ours)} | {seconds(theirs)} | {ahead} | {raised} | {cpu} | {memory} |"
    )


def _case(base: Path, deeds: tuple[Deed, ...], repeats: int) -> dict[str, dict[str, Any]]:
    samples: dict[str, dict[str, list[Sample]]] = {deed.name: {} for deed in deeds}
    for number in range(repeats):
        for tool in ("growdisk", "qemu-img", "tuned"):
            say(
                f"{tool}, round {number + 1} of {repeats}: {', '.join(deed.name for deed in deeds)}"
            )
            _round(base, tool, deeds, samples)
    return {
        name: {tool: figure(taken) for tool, taken in tools.items()}
        for name, tools in samples.items()
    }


def _round(
    base: Path, tool: str, deeds: tuple[Deed, ...], samples: dict[str, dict[str, list[Sample]]]
) -> None:
    """All deeds of one tool, one after another, on one copy of the image."""
    image, new, over = (base.with_name(name) for name in ("image", "new.qcow2", "over.qcow2"))
    subprocess.run(["cp", "--sparse=always", base, image], check=True)
    for deed in deeds:
        if argv := _argv(tool, deed, image, new, over):
            if str(over) in argv:
                _overlay(image, over)
            settle()  # nobody pays for what was written before
            samples[deed.name].setdefault(tool, []).append(take_small(argv))
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


def _argv(tool: str, deed: Deed, image: Path, new: Path, over: Path) -> list[str]:
    text, program = {
        "growdisk": (deed.ours, GROWDISK),
        "qemu-img": (deed.theirs, "qemu-img"),
        "tuned": (deed.tuned, "qemu-img"),
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

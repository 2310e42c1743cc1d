"""The image engine against qemu-img: the same images, both tools in turn, and qemu-img once more with raised caches."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import engine_images
from benchmarks.measure import Sample, middle

GROWDISK = str(Path(sys.executable).with_name("growdisk"))
CACHES = "l2-cache-size=256M,refcount-cache-size=64M"
Samples = dict[str, dict[str, list[Sample]]]  # operation: tool: samples


@dataclass(frozen=True)
class Deed:
    """One command of each tool; `{}` is the image, `{new}` a file that the command makes."""

    name: str
    ours: str
    theirs: str
    tuned: str = ""


_SNAPSHOT = tuple(
    Deed(name, f"image snapshot {name} {{}} s", f"snapshot -q {flag} s {{}}", f"snapshot -q {flag} s --image-opts {{}}")
    for name, flag in (("create", "-c"), ("apply", "-a"), ("delete", "-d"))
)
_METADATA = (
    *_SNAPSHOT,
    Deed("check", "image check {}", "check -q {}", "check -q --image-opts {}"),
    Deed("resize", "image resize {} +10G", "resize -q {} +10G", "resize -q --image-opts {} +10G"),
    Deed("map", "image map {} --json", "map --output=json {}", "map --output=json --image-opts {}"),
)
_CONVERT = Deed(
    "convert", "image convert {} {new}", "convert -O qcow2 {} {new}", "convert -O qcow2 --image-opts {} {new}"
)
_SMALL = (
    Deed("info", "image info {}", "info {}"), Deed("list", "image snapshot list {}", "snapshot -l {}"), *_METADATA
)  # fmt: skip
_FILLED = (
    Deed("to qcow2", "image convert {} {new}", "convert -f raw -O qcow2 {} {new}"),
    Deed("-c zlib", "image convert -c {} {new}", "convert -c -f raw -O qcow2 {} {new}"),
    Deed("-c zstd", "image convert -c --compression zstd {} {new}",
         "convert -c -f raw -O qcow2 -o compression_type=zstd {} {new}"),
)  # fmt: skip
CASES: tuple[tuple[str, Callable[[Path], None], tuple[Deed, ...]], ...] = (
    ("1 TiB, contiguous", engine_images.contiguous, (*_METADATA, _CONVERT)),
    ("16 GiB, shuffled", engine_images.shuffled, (*_METADATA, _CONVERT)),
    ("10 GiB, 96 MiB used", engine_images.nearly_empty, _SMALL),
    ("512 MiB raw, full", engine_images.filled, _FILLED),
)


def compare(repeats: int, folder: str | None = None, only: str = "") -> dict[str, object]:
    """All samples and their medians, by image and operation."""
    result: dict[str, object] = {"load before": os.getloadavg()[0]}
    images = {}
    for name, build, deeds in CASES:
        if only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir=folder) as place:
            base = Path(place) / "base.img"
            build(base)
            images[name] = _case(base, deeds, repeats)
    return result | {"images": images, "in process, ms": _in_process(folder), "load after": os.getloadavg()[0]}


def rows(result: dict[str, object]) -> Iterator[str]:
    """The figures as Markdown tables: ratios to qemu-img, its seconds and ours."""
    images = result["images"]
    assert isinstance(images, dict)
    for image, deeds in images.items():
        yield f"| {image} | growdisk | qemu-img | qemu-img, raised caches | ratio | memory |"
        yield "|---|---|---|---|---|---|"
        for deed, tools in deeds.items():
            ours, theirs, tuned = (tools.get(tool, {}).get("wall") for tool in ("growdisk", "qemu-img", "tuned"))
            memory = tools["growdisk"]["own_peak_kib"] / 1024
            extra = "" if tuned is None else f"{tuned:.3f} s ({tuned / ours:.1f} ×)"
            yield f"| {deed} | {ours:.3f} s | {theirs:.3f} s | {extra} | {theirs / ours:.1f} × | {memory:.0f} MiB |"
        yield ""
    process = result["in process, ms"]
    assert isinstance(process, dict)
    yield "In a running process, 10 GiB nearly empty: " + ", ".join(f"{k} {v:.1f} ms" for k, v in process.items()) + "."


def _case(base: Path, deeds: tuple[Deed, ...], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    samples: Samples = {deed.name: {} for deed in deeds}
    for _ in range(repeats):
        for tool in ("growdisk", "qemu-img", "tuned"):
            image = base.with_name("image")
            subprocess.run(["cp", "--sparse=always", base, image], check=True)
            os.sync()  # nobody pays for the copy
            for deed in deeds:
                if argv := _argv(tool, deed, image, base.with_name("new.qcow2")):
                    samples[deed.name].setdefault(tool, []).append(_take(argv))
                base.with_name("new.qcow2").unlink(missing_ok=True)
            image.unlink()
    return {name: {tool: asdict(middle(taken)) for tool, taken in tools.items()} for name, tools in samples.items()}


def _argv(tool: str, deed: Deed, image: Path, new: Path) -> list[str]:
    text, program = {
        "growdisk": (deed.ours, GROWDISK), "qemu-img": (deed.theirs, "qemu-img"), "tuned": (deed.tuned, "qemu-img")
    }[tool]  # fmt: skip
    place = f"driver=qcow2,{CACHES},file.filename={image}" if tool == "tuned" else str(image)
    return [program, *(word.replace("{}", place).replace("{new}", str(new)) for word in text.split())] if text else []


def _take(argv: list[str]) -> Sample:
    """Run a command that must succeed, by a spawn that does not count this process's memory as its own."""
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    started = time.monotonic()
    child = os.posix_spawnp(argv[0], argv, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - started
    if status:
        raise SystemExit(f"{' '.join(argv)}: exit code {os.waitstatus_to_exitcode(status)}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def _in_process(folder: str | None) -> dict[str, float]:
    """Medians of ten calls each, in milliseconds."""
    from growdisk.api.images.checking import check_image
    from growdisk.api.images.info import image_info
    from growdisk.api.images.resizing import resize_image
    from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
    from growdisk.units import parse_size

    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir=folder) as place:
        image = Path(place) / "small.qcow2"
        engine_images.nearly_empty(image)
        calls: dict[str, Callable[[], object]] = {
            "info": lambda: image_info(image), "check": lambda: check_image(image),
            "create": lambda: create_snapshot(image, "s"), "apply": lambda: apply_snapshot(image, "s"),
            "delete": lambda: delete_snapshot(image, "s"), "resize": lambda: resize_image(image, parse_size("+1G")),
        }  # fmt: skip
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(10):
            for name, call in calls.items():
                started = time.monotonic()
                call()
                taken[name].append(1000 * (time.monotonic() - started))
    return {name: median(times) for name, times in taken.items()}

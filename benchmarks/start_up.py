"""Where the work is tiny: `image info` and the like, as a command and within a process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import engine_images
from benchmarks.measure import GROWDISK, Sample, figure, in_turn, seconds, take_small, times

COMMANDS, CALLS = 21, 21


def compare(repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as place:
        image = Path(place) / "small.qcow2"
        engine_images.nearly_empty(image)
        contenders: dict[str, Callable[[], Sample]] = {
            "qemu-img info": lambda: take_small(["qemu-img", "info", str(image)]),
            "growdisk image info": lambda: take_small([GROWDISK, "image", "info", str(image)]),
            "growdisk --version": lambda: take_small([GROWDISK, "--version"]),
            "an empty Python": lambda: take_small([sys.executable, "-I", "-S", "-c", "pass"]),
        }
        commands = in_turn(contenders, dict.fromkeys(contenders, COMMANDS))
        calls = _in_process(image)
        imports = _imports(image)
    return {
        "commands": {name: figure(taken) for name, taken in commands.items()},
        "calls": {name: figure(taken) for name, taken in calls.items()},
        "imports": imports,
    }


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    commands, calls = result["commands"], result["calls"]
    theirs = commands["qemu-img info"]["wall"]
    yield "| 10 GiB, 96 MiB used | median (spread) | against qemu-img info |"
    yield "|---|---|---|"
    for name, fig in commands.items():
        yield f"| `{name}` | {seconds(fig)} | {times(fig['wall'] / theirs)} |"
    for name, fig in calls.items():
        name = f"`growdisk.api`, in a running process: {name}"
        yield f"| {name} | {1000 * fig['wall']:.2f} ms | {times(fig['wall'] / theirs)} |"
    slow = ", ".join(f"{name} {took:.1f} ms" for name, took in result["imports"]["slowest"].items())
    yield ""
    imports = result["imports"]
    yield (
        f"`-X importtime` of image info: {imports['total']:.1f} ms for {imports['count']} "
        f"modules; {slow}."
    )


def _in_process(image: Path) -> dict[str, list[Sample]]:
    from growdisk.api.images.checking import check_image
    from growdisk.api.images.info import image_info
    from growdisk.api.images.resizing import resize_image
    from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
    from growdisk.units import parse_size

    calls: dict[str, Callable[[], object]] = {
        "info": lambda: image_info(image), "check": lambda: check_image(image),
        "snapshot create": lambda: create_snapshot(image, "s"),
        "apply": lambda: apply_snapshot(image, "s"),
        "delete": lambda: delete_snapshot(image, "s"),
        "resize": lambda: resize_image(image, parse_size("+1G")),
    }  # fmt: skip
    return in_turn(
        {name: lambda call=call: _timed(call) for name, call in calls.items()},
        dict.fromkeys(calls, CALLS),
    )


def _timed(call: Callable[[], object]) -> Sample:
    started = time.monotonic()
    call()
    return Sample(time.monotonic() - started)


def _imports(image: Path) -> dict[str, Any]:
    """Self times of modules, in milliseconds; twice as slow as without being looked at."""
    root = Path(__file__).parent.parent
    script = (
        f"import sys; sys.path.append({str(root)!r}); sys.argv[1:] = ['image', 'info', "
        f"{str(image)!r}]; "
    )
    script += "from growdisk.cli.start import console; console()"
    done = subprocess.run(
        [sys.executable, "-PsS", "-X", "importtime", "-c", script], capture_output=True, text=True,
        check=True,
        env={**os.environ},
    )  # fmt: skip
    rows = [
        line.removeprefix("import time:").split("|")
        for line in done.stderr.splitlines()
        if line.count("|") == 2
    ]
    took = {name.strip(): int(own) / 1000 for own, _, name in rows if own.strip().isdigit()}
    slowest = dict(sorted(took.items(), key=lambda item: -item[1])[:5])
    return {"count": len(took), "total": sum(took.values()), "slowest": slowest}

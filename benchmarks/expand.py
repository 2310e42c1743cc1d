"""The whole expand of the classic Debian guest: all backends, and all that other people use for it.

virt-resize takes two minutes a time, so it is taken twice where the others are taken five times.
growpart and systemd-repart cannot do it at all: their outcome is kept instead of a time. guestfish
does what a careful person types, and leaves what needs repair in the guest: without its swap it
waits for 90 s at each boot.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import limit
from benchmarks.guests import NAME, base_image, forget, fresh_copy, prepare_peers
from benchmarks.measure import (
    Growdisk,
    Sample,
    figure,
    in_turn,
    seconds,
    take,
    take_growdisk,
    times,
)
from growdisk.units import GiB

GROWTH, NEW_SIZE, ENDS_AT = "+10G", "13G", 13 * GiB // 512 - 1
SLOW = 2
GUESTFISH = f"""\
run
part-del /dev/sda 5
part-del /dev/sda 2
part-resize /dev/sda 1 {ENDS_AT}
e2fsck /dev/sda1 forceall:true
resize2fs /dev/sda1
"""
OURS = ("direct", "uml", "guestfs")
WORDS = {
    "direct": "growdisk expand (direct)",
    "uml": "growdisk expand --backend uml",
    "guestfs": "growdisk expand --backend guestfs",
    "guestfish": "qemu-img resize + guestfish, nothing repaired, no way back",
    "virt-resize": "qemu-img create + virt-resize, to a copy, nothing repaired",
}


def compare(repeats: int) -> dict[str, Any]:
    prepare_peers()
    base = base_image()
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as folder:
        guest, new = Path(folder) / "guest.qcow2", Path(folder) / "new.qcow2"
        samples = in_turn(
            {
                "direct": lambda: _growdisk(base, guest, "direct"),
                "uml": lambda: _growdisk(base, guest, "uml"),
                "guestfs": lambda: _growdisk(base, guest, "guestfs"),
                "guestfish": lambda: _guestfish(base, guest),
                "virt-resize": lambda: _virt_resize(base, new),
            },
            {
                **dict.fromkeys(("direct", "uml", "guestfs", "guestfish"), repeats),
                "virt-resize": min(SLOW, repeats),
            },
        )
        refusals = _refusals(base, Path(folder))
        physical = limit.measure(base, guest, repeats)
    return {
        "guest": NAME,
        "growth": GROWTH,
        "tools": {name: figure(taken) for name, taken in samples.items()},
        "steps": {name: _steps(samples[name]) for name in OURS},
        "refusals": refusals,
        "limit": physical,
    }


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    tools = result["tools"]
    ours = tools["direct"]["wall"]
    yield f"| {result['guest']}, {result['growth']} | median (spread) | against direct |"
    yield "|---|---|---|"
    for name, words in WORDS.items():
        if name not in tools:
            continue
        yield (
            f"| {words} | {seconds(tools[name])} | "
            f"{'1' if name == 'direct' else times(tools[name]['wall'] / ours)} |"
        )
    for name, said in result["refusals"].items():
        yield f"| {name} | cannot: {said} | – |"
    yield ""
    for name in (name for name in OURS if name in tools):
        fig = tools[name]
        yield (
            f"{name}: growdisk's own process takes {fig['own_cpu']:.2f} s of CPU and "
            f"{fig['own_peak_kib'] / 1024:.0f} MiB at its peak; by step: "
            + ", ".join(f"{step} {took:.2f} s" for step, took in result["steps"][name].items())
            + ".  "
        )
    yield from limit.rows(result["limit"], ours)


def _growdisk(base: Path, guest: Path, backend: str) -> Growdisk:
    fresh_copy(base, guest)
    sample = take_growdisk(["expand", guest, GROWTH, "--backend", backend])
    assert (sample.answer["result"], sample.answer["backend"]) == ("changed", backend), (
        sample.answer
    )
    forget(guest)
    return sample


def _guestfish(base: Path, guest: Path) -> Sample:
    fresh_copy(base, guest)
    resized = take(["qemu-img", "resize", "-q", guest, GROWTH])
    grown = take(["guestfish", "--rw", "--format=qcow2", "-a", guest], stdin=GUESTFISH)
    forget(guest)
    return Sample(resized.wall + grown.wall)


def _virt_resize(base: Path, new: Path) -> Sample:
    created = take(["qemu-img", "create", "-q", "-f", "qcow2", new, NEW_SIZE])
    resize = [
        "virt-resize",
        "--format",
        "qcow2",
        "--output-format",
        "qcow2",
        "--delete",
        "/dev/sda2",
    ]
    resized = take([*resize, "--expand", "/dev/sda1", base, new])
    new.unlink()
    return Sample(created.wall + resized.wall)


def _steps(samples: list[Sample]) -> dict[str, float]:
    """Seconds by step in the median run; `around` is the rest: start, reading, plan, end."""
    run = sorted(samples, key=lambda sample: sample.wall)[len(samples) // 2]
    assert isinstance(run, Growdisk)
    steps = {step["name"]: float(step["seconds"]) for step in run.answer["steps"]}
    return {**steps, "around": run.wall - sum(steps.values())}


def _refusals(base: Path, folder: Path) -> dict[str, str]:
    """What growpart and systemd-repart say to a raw copy of the guest that has been made larger."""
    raw = folder / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", base, raw], check=True)
    with raw.open("r+b") as file:
        file.truncate(raw.stat().st_size + 10 * GiB)
    definitions = folder / "repart.d"
    definitions.mkdir()
    (definitions / "root.conf").write_text("[Partition]\nType=root\n")
    said = {
        "growpart": _outcome("growpart", raw, "1"),
        "systemd-repart": _outcome(
            "systemd-repart", "--dry-run=no", f"--definitions={definitions}", raw
        ),
    }
    raw.unlink()
    return said


def _outcome(*argv: str | Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines() or ["says nothing"]
    return f"exit code {done.returncode}, “{lines[-1].strip()[:100]}”"

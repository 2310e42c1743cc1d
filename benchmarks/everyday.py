"""Everyday images: 1.5 GiB of this machine's files in ext4, copied by verbs; both durable.

qemu-img is measured twice: with `-t writeback`, so that its new image is on the disk when it ends,
as growdisk's is; and as it comes, when most of it is still in memory. The same goes for cp, with
and without sync.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import engine_images
from benchmarks.guests import settle
from benchmarks.measure import GROWDISK, Sample, figure, say, seconds, take_small, times

ROWS = "jobs"
GROWDISK_RUN, DURABLE, AS_IT_COMES = "growdisk", "durable", "as it comes"
_SIZE, _CONTENT = "2G", 1450 << 20


@dataclass(frozen=True)
class Job:
    """`{raw}`, `{qcow2}`, `{zlib}`, `{zstd}`: the image in that form; `{new}`: what is made.

    Others: see _prepare. `theirs`: with WRITEBACK where the durable run has `-t writeback`; a
    command that begins with cp has its own sync.
    """

    ours: str
    theirs: str
    most: int = 9


JOBS = {
    "qcow2 to raw": Job("convert {qcow2} {new} -O raw", "convert WRITEBACK -O raw {qcow2} {new}"),
    "qcow2 to qcow2": Job(
        "convert {qcow2} {new} -O qcow2", "convert WRITEBACK -O qcow2 {qcow2} {new}"
    ),
    "raw to qcow2": Job(
        "convert {raw} {new} -O qcow2", "convert WRITEBACK -f raw -O qcow2 {raw} {new}"
    ),
    "raw to raw": Job("convert {raw} {new} -O raw", "convert WRITEBACK -f raw -O raw {raw} {new}"),
    "zlib to raw": Job("convert {zlib} {new} -O raw", "convert WRITEBACK -O raw {zlib} {new}", 3),
    "zstd to raw": Job("convert {zstd} {new} -O raw", "convert WRITEBACK -O raw {zstd} {new}", 3),
    "qcow2 to zlib": Job(
        "convert -c {qcow2} {new}", "convert WRITEBACK -c -O qcow2 {qcow2} {new}", 1
    ),
    "qcow2 to zstd": Job(
        "convert -c --compression zstd {qcow2} {new}",
        "convert WRITEBACK -c -O qcow2 -o compression_type=zstd {qcow2} {new}",
        3,
    ),
    "compare qcow2, raw": Job("compare {qcow2} {raw}", "compare {qcow2} {raw}"),
    "compare qcow2, zlib": Job("compare {qcow2} {zlib}", "compare {qcow2} {zlib}", 3),
    "commit all of it": Job("commit {full}", "commit WRITEBACK -q {full}"),
    "rebase, 128 MiB differ": Job(
        "rebase --trust-references {over} -b {other}", "rebase WRITEBACK -F qcow2 -b {other} {over}"
    ),
    "rebase to none": Job("rebase --trust-references {over}", "rebase WRITEBACK -b EMPTY {over}"),
    "copy": Job("copy {raw} {new}", "cp --sparse=auto {raw} {new}"),
    "copy --sparse always": Job(
        "copy --sparse always {raw} {new}", "cp --sparse=always {raw} {new}"
    ),
}


def names() -> list[str]:
    return list(JOBS)


def compare(repeats: int, only: str = "") -> dict[str, Any]:
    """All samples and their medians, by job and tool."""
    with tempfile.TemporaryDirectory(prefix="growdisk-bench-", dir="/var/tmp") as place:
        forms = build(Path(place))
        found = {
            name: _job(job, forms, min(repeats, job.most))
            for name, job in JOBS.items()
            if only in name
        }
    return {"content": _CONTENT, ROWS: found}


def rows(result: Mapping[str, Any]) -> Iterator[str]:
    """Ratios to qemu-img: its time over ours, above 1 where growdisk is ahead."""
    yield (
        "| 1.5 GiB of files in ext4 | growdisk | qemu-img, as durable | ahead by | as it comes "
        "| CPU | memory |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, tools in result[ROWS].items():
        ours, theirs, loose = tools[GROWDISK_RUN], tools[DURABLE], tools.get(AS_IT_COMES)
        ahead, raised = (
            times(theirs["wall"] / ours["wall"]),
            "–" if loose is None else seconds(loose),
        )
        cpu = f"{ours['own_cpu']:.2g} : {theirs['own_cpu']:.2g} s"
        memory = f"{ours['own_peak_kib'] / 1024:.0f} : {theirs['own_peak_kib'] / 1024:.0f} MiB"
        yield (
            f"| {name} | {seconds(ours)} | {seconds(theirs)} | {ahead} | {raised} | {cpu} | "
            f"{memory} |"
        )


def build(folder: Path) -> dict[str, Path]:
    """The image in all its forms, and another that differs from it here and there."""
    raw, forms = folder / "image.raw", {}
    tree = folder / "tree"
    engine_images.files(tree, _CONTENT)
    with raw.open("wb") as file:
        file.truncate(int(_SIZE[:-1]) << 30)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, raw], check=True)
    shutil.rmtree(tree)
    options = {
        "qcow2": (),
        "zlib": ("-c",),
        "zstd": ("-c", "-o", "compression_type=zstd"),
        "other": (),
    }
    for name, words in options.items():
        forms[name] = folder / f"{name}.qcow2"
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *words, raw, forms[name]],
            check=True,
        )
    writes = [
        word for number in range(64) for word in ("-c", f"write -P {number + 1} {number * 31}M 2M")
    ]
    subprocess.run(["qemu-io", *writes, forms["other"]], check=True, stdout=subprocess.DEVNULL)
    return forms | {"raw": raw}


def _job(job: Job, forms: Mapping[str, Path], repeats: int) -> dict[str, Any]:
    made = forms["raw"].parent / "made"
    samples: dict[str, list[Sample]] = {}
    for number in range(repeats):
        for tool in (GROWDISK_RUN, DURABLE, AS_IT_COMES):
            made.mkdir()
            names = {f"{{{name}}}": str(path) for name, path in forms.items()} | {
                "{new}": str(made / "new")
            }
            names |= _prepare(job, forms, made)
            if argv := _argv(job, tool, names):
                say(f"{number + 1} of {repeats}: {' '.join(argv)}")
                settle()
                samples.setdefault(tool, []).append(take_small(argv))
            shutil.rmtree(made)
    return {tool: figure(taken) for tool, taken in samples.items()}


def _prepare(job: Job, forms: Mapping[str, Path], made: Path) -> dict[str, str]:
    """`{over}`: an empty overlay on the image.

    `{full}`: one with all its content, over a base with nothing.
    """
    over, full, base = made / "over.qcow2", made / "full.qcow2", made / "base.qcow2"
    if "{over}" in job.ours:
        _create(over, forms["qcow2"])
    if "{full}" in job.ours:
        _create(base, None)
        _create(full, base)
        subprocess.run(["qemu-img", "convert", "-n", "-O", "qcow2", forms["raw"], full], check=True)
    return {"{over}": str(over), "{full}": str(full)}


def _create(path: Path, base: Path | None) -> None:
    on = ["-b", base, "-F", "qcow2"] if base else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *on, path, _SIZE], check=True)


def _argv(job: Job, tool: str, names: Mapping[str, str]) -> list[str]:
    """The command, or nothing where this is no other than the durable one."""
    if tool == GROWDISK_RUN:
        return [GROWDISK, "image", *(names.get(word, word) for word in job.ours.split())]
    words = [{"EMPTY": "", **names}.get(word, word) for word in job.theirs.split()]
    if words[0] == "cp":
        return words if tool == AS_IT_COMES else ["sh", "-c", '"$@" && sync "$4"', "sh", *words]
    if "WRITEBACK" not in words:
        return ["qemu-img", *words] if tool == DURABLE else []
    place = words.index("WRITEBACK")
    words[place : place + 1] = ["-t", "writeback"] if tool == DURABLE else []
    return ["qemu-img", *words]

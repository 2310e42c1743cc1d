"""A round as metrics for Prometheus: a text file (0.0.4) for its node exporter."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from growdisk.api.watching.actions import Action
from growdisk.api.watching.round import Round
from growdisk.durable import replace_file
from growdisk.errors import Refused

_READABLE = 0o644  # the collector is another user
Sample = tuple[dict[str, str], float]


def write_metrics(path: Path, ended: Round) -> None:
    """The whole file at once: a reader never sees a part. metrics-not-written."""
    try:
        replace_file(path, as_text(ended, time.time()).encode("utf-8", "replace"), _READABLE)
    except OSError as error:
        raise Refused.named(
            "metrics-not-written",
            "cannot write the metrics to {path}",
            "{reason}",
            "name a file in a folder that is there and can be written; the round itself is done",
            {"path": path, "reason": error.strerror or str(error)},
        ) from error


def as_text(ended: Round, now: float) -> str:
    return "".join(
        line
        for name, text, samples in _families(ended, now)
        for line in _lines(name, text, samples)
    )


def _families(ended: Round, now: float) -> Iterator[tuple[str, str, list[Sample]]]:
    actions = ended.actions

    def of_disks(value: Callable[[Action], float | None]) -> list[Sample]:
        found = ((disk, value(disk)) for disk in actions)
        return [(_disk(disk), float(known)) for disk, known in found if known is not None]

    yield (
        "growdisk_filesystem_fullness_ratio",
        "How full a file system is, of what users may fill.",
        [
            ({**_disk(d), "filesystem": fs.name}, fs.fullness)
            for d in actions
            for fs in d.entry.file_systems
        ],
    )
    yield "growdisk_disk_size_bytes", "Size of the virtual disk.", of_disks(_size)
    on_host = "What the image takes on the host."
    yield "growdisk_disk_host_bytes", on_host, of_disks(lambda d: d.entry.actual_size)
    idle = "Room of the disk that belongs to no file system."
    yield "growdisk_disk_idle_bytes", idle, of_disks(_idle)
    yield (
        "growdisk_disk_last_result",
        "How the disk came out of the last round, in its label.",
        [({**_disk(d), "result": d.result.replace(" ", "_")}, 1.0) for d in actions],
    )
    code = "0 all is well, 3 refused, 4 failed and restored, 5 needs a person."
    yield "growdisk_disk_last_code", code, of_disks(lambda d: d.code)
    yield "growdisk_watch_last_code", "The worst of the last round.", [({}, float(ended.code))]
    yield (
        "growdisk_watch_last_duration_seconds",
        "How long the last round took.",
        [({}, round(ended.seconds, 3))],
    )
    yield (
        "growdisk_watch_last_timestamp_seconds",
        "When the last round ended.",
        [({}, round(now, 3))],
    )


def _size(action: Action) -> int | None:
    return action.new_size if action.result == "grown" else action.entry.virtual_size


def _idle(action: Action) -> int | None:
    return action.entry.idle if action.entry.virtual_size is not None else None


def _disk(action: Action) -> dict[str, str]:
    return {"disk": action.entry.name}


def _lines(name: str, text: str, samples: list[Sample]) -> Iterator[str]:
    if samples:
        yield f"# HELP {name} {text}\n# TYPE {name} gauge\n"
    # A dict: for two lines with the same labels the collector would refuse the whole file.
    for labels, value in {
        tuple(sorted(labels.items())): value for labels, value in samples
    }.items():
        inside = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels)
        yield f"{name}{{{inside}}} {value!r}\n" if inside else f"{name} {value!r}\n"


def _escaped(word: str) -> str:
    word = word.encode("utf-8", "backslashreplace").decode()
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""A task's options as growdisk.api's values: a target, a goal, and how to carry it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from growdisk.errors import UsageError, bad_value
from growdisk.given_file import read_given
from growdisk.planner.goal import Backend, Goal, Preallocation, RunOptions, SwapPolicy
from growdisk.planner.rule_words import rule_of
from growdisk.planner.size_specs import growth_requests, parse_percent, volume_requests
from growdisk.playbook.options import Options
from growdisk.units import parse_goal_size

if TYPE_CHECKING:
    from growdisk.api.live_target import LiveRequest
    from growdisk.qcow2.probe import ImageFormat

_INSIDE = ("ssh", "ssh_config", "agent", "guest_disk", "allow_reboot")
Snapshots = Literal["auto", "internal", "overlay", "none"]


def target_of(options: Options, *, running: bool = False) -> Path | LiveRequest:
    """A path if nothing speaks of a running guest (`running`: the task itself does)."""
    path, domain, qmp = options.path("image"), options.text("domain") or "", options.path("qmp")
    if path is None and not domain and qmp is None:
        raise UsageError(f"{options.task} names no disk", hint="give it image, or domain, or qmp")
    if domain and qmp is not None:
        raise UsageError(
            f"{options.task}: domain and qmp exclude each other", hint="leave one of them out"
        )
    online = options.word("online") or "auto"
    # Not allow_reboot, the last one: it allows something, and says nothing of how the guest stands.
    inside = online != "auto" or any(
        options.text(name) or options.path(name) for name in _INSIDE[:-1]
    )
    if path is not None and not (domain or qmp or inside or running):
        return path
    from growdisk.api.live_target import LiveRequest

    return LiveRequest(
        path,
        qmp,
        domain,
        options.text("connect"),
        options.word("disk"),
        online=cast("Literal['auto', 'agent', 'ssh']", online),
        agent=options.path("agent"),
        ssh=options.word("ssh"),
        ssh_config=options.path("ssh_config"),
        guest_disk=options.word("guest_disk"),
        allow_reboot=options.flag("allow_reboot"),
    )


def goal_of(options: Options) -> Goal:
    """Tasks that lack an option have its default."""
    size = options.text("size")
    return Goal(
        parse_goal_size(size) if size else None,
        options.text("partition") or "auto",
        cast("SwapPolicy | None", options.text("swap") or None),
        options.numbers("delete"),
        cast("Preallocation", options.text("preallocation") or "off"),
        move=options.numbers("move"),
        grow=growth_requests(options.texts("grow")),
        sector_size=sector_size_of(options),
        to_gpt=options.flag("to_gpt"),
        # A flag whose default is true: text() is None for a task that does not have it.
        repair=options.text("guest_repair") != "False",
        lv=volume_requests(options.texts("lv")),
        lv_share=parse_percent(options.text("lv_share")),
        rule=rule_of(
            *(
                options.text(name)
                for name in ("when_used", "max_size", "min_interval", "keep_host_free")
            )
        ),
    )


def sector_size_of(options: Options) -> int:
    size = int(options.text("sector_size") or 512)
    if size not in (512, 4096):
        raise bad_value(
            f"{options.task}: sectors of {size} bytes are not supported",
            "sector_size",
            str(size),
            hint="sector_size: 512 or 4096",
            choices=("512", "4096"),
        )
    return size


def run_options(options: Options) -> RunOptions:
    keep, snapshots = options.flag("keep_snapshots"), options.text("snapshots") or "auto"
    if keep and snapshots == "none":
        raise UsageError(
            "keep_snapshots and snapshots: none exclude each other", hint="leave one of them out"
        )
    backend = options.text("backend") or "auto"
    return RunOptions(
        cast("Backend", backend),
        cast("Snapshots", snapshots),
        keep,
        keys_of(options),
        not_in_use=options.flag("not_in_use"),
        overlays_may_break=options.flag("overlays_may_break"),
    )


def keys_of(options: Options) -> tuple[bytes, ...]:
    """The passphrases in the files that key_file names: all their bytes."""
    return tuple(read_given(path, "check key_file") for path in options.paths("key_file"))


def format_of(options: Options) -> ImageFormat | None:
    return cast("ImageFormat | None", options.text("format"))

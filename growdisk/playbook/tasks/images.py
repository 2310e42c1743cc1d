"""Tasks on image files: snapshots, going back, conversion, an image in the wanted state."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from growdisk import api
from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import create_qcow2, create_raw, raw_preallocation
from growdisk.api.images.info import ImageInfo, image_info
from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.api.recorded_runs import refuse_left_steps, refuse_unknown_step
from growdisk.api.result import StatusReport
from growdisk.errors import (
    ImageDamaged,
    ImageNotReadable,
    ImageUnsupported,
    Refused,
    destination_exists,
    shell_word,
)
from growdisk.planner.given_values import format_of
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext, TaskResult
from growdisk.playbook.tasks.expand import outcome_of
from growdisk.qcow2.create_options import CreateOptions, Preallocation
from growdisk.qcow2.probe import ImageFormat, format_of_new
from growdisk.qcow2.snapshots import snapshot_not_found
from growdisk.units import SizeSpec, format_change, format_size, parse_goal_size

_ENDED = ("done", "skipped")


def _snapshot(options: Options, context: TaskContext) -> TaskResult:
    """present and absent are idempotent; applied goes back each time it is asked."""
    path, name, state = options.place("image"), options.word("name"), options.word("state")
    info = image_info(path)
    if info.format == "raw" and state != "absent":
        raise ImageUnsupported(
            path,
            reason="a raw image has no snapshots",
            hint=f"growdisk image convert {shell_word(path)} NEW.qcow2 makes it qcow2",
        )
    exists = name in [snapshot.name for snapshot in info.snapshots]
    result: dict[str, object] = {"snapshot": name, "state": state}
    if state != "applied" and exists == (state == "present"):
        return TaskResult(
            changed=False, message=f"snapshot {name} is {state} already", result=result
        )
    may = options.flag("overlays_may_break")
    # If the snapshot is missing, apply_snapshot refuses, in check mode too.
    if not context.check or (state == "applied" and not exists):
        match state:
            case "present":
                create_snapshot(path, name, overlays_may_break=may)
            case "applied":
                apply_snapshot(path, name, "name", overlays_may_break=may)
            case _:
                delete_snapshot(path, name, "name", overlays_may_break=may)
    return TaskResult(changed=True, message=f"snapshot {name}: {state}", result=result)


def _rollback(options: Options, context: TaskContext) -> TaskResult:
    """Where there is nothing to undo, nothing is done."""
    path, to = options.place("image"), options.text("to")
    report = _run_of(path)
    if "rollback" not in report.next:
        return TaskResult.nothing("there is no run to undo")
    states = {step.name: step.state for step in report.steps}
    refuse_unknown_step(path, list(states), to)
    # Asked again, the task must not go back further than it did the first time.
    if to is not None and states[to] in ("pending", "restored"):
        return TaskResult.nothing(f"{to} is undone already")
    if context.check:
        return TaskResult.planned(f"run {report.run} would be undone")
    outcome = outcome_of(
        api.rollback(
            path,
            to,
            context.observer,
            context.stop,
            overlays_may_break=options.flag("overlays_may_break"),
            not_in_use=options.flag("not_in_use"),
        )
    )
    if outcome.failed:
        return outcome
    return TaskResult(True, f"run {report.run} is undone", outcome.result, outcome.diff)


def _commit(options: Options, context: TaskContext) -> TaskResult:
    path = options.place("image")
    report = _run_of(path)
    unfinished = report.state == "unfinished"
    if "commit" not in report.next and not unfinished:
        return TaskResult.nothing("there is no kept run")
    if unfinished and "rollback" in report.next:  # else its snapshots are being removed already
        refuse_left_steps(path, [s.name for s in report.steps if s.state not in _ENDED])
    if context.check:
        return TaskResult.planned(f"run {report.run} would be final")
    outcome = outcome_of(api.commit(path, context.observer, not_in_use=options.flag("not_in_use")))
    if outcome.failed:
        return outcome
    return TaskResult(True, f"run {report.run} is final", outcome.result)


def _run_of(path: Path) -> StatusReport:
    """An image that is not there has no run either, and was hardly meant."""
    if not path.exists():
        raise ImageNotReadable(path, reason="there is no such file")
    return api.status(path)


def _convert(options: Options, context: TaskContext) -> TaskResult:
    path, dest = options.place("image"), options.place("dest")
    otherwise = "qcow2" if options.flag("compress") else "raw"
    to = options.text("to") or format_of_new(dest) or otherwise
    # Before the look at dest: a wrong option is an error even if dest is there already.
    target = _target(options, to)
    size = _size_of(image_info(path, format_of(options)), options.text("snapshot"))
    if dest.exists() and dest.samefile(path):
        raise options.error("dest is the image itself", "name another file")
    # A block device always exists, and is always written to.
    if dest.exists() and not dest.is_block_device():
        made = image_info(dest)
        # A snapshot that is gone by now tells no size: it may have been removed once converted.
        if made.format != to or made.virtual_size < (size or 0):
            raise destination_exists(dest)
        message = f"{dest.name} is there already, {to}, {format_size(made.virtual_size)}"
        return TaskResult(False, message, made.as_json())
    if size is None:
        raise snapshot_not_found(path, name=options.word("snapshot"))
    _refuse_no_folder(dest)
    if context.check:
        planned = {"result": "planned", "filename": str(dest), "virtual-size": size}
        return TaskResult(True, f"{path.name} would be converted to {dest.name} ({to})", planned)
    convert_image(
        # No passphrases: these tasks have no option for one, so encrypted images are refused.
        Source(path, format_of(options), options.text("snapshot"), None, ()),
        dest,
        target,
        lambda done, total: None,
    )
    return TaskResult(True, f"{path.name} -> {dest.name} ({to})", image_info(dest).as_json())


def _size_of(source: ImageInfo, snapshot: str | None) -> int | None:
    """The size of what is converted; None if there is no such snapshot."""
    if snapshot is None:
        return source.virtual_size
    entries = source.snapshots
    # By its name, or else its id, as convert_image finds it.
    named = [entry for entry in entries if entry.name == snapshot]
    found = named or [entry for entry in entries if entry.id == snapshot]
    return found[0].disk_size(source.virtual_size) if found else None


def _target(options: Options, to: str) -> RawTarget | Qcow2Target:
    compress = options.flag("compress") or options.text("compression") is not None
    if to == "raw":
        if compress or options.flag("keep_snapshots"):
            raise options.error("a raw image is not compressed and has no snapshots", "to: qcow2")
        return RawTarget(raw_preallocation(_create_options(options)))
    words = _create_options(options)
    if options.text("compression"):
        words += f",compression_type={options.text('compression')}"
    chosen = CreateOptions.parse(words.removeprefix(","))
    return Qcow2Target(chosen, compress=compress, keep_snapshots=options.flag("keep_snapshots"))


def _create_options(options: Options) -> str:
    """As qemu-img's -o has them."""
    words = {True: "on", False: "off"}
    given = options.mapping("options").items()
    return ",".join(
        f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in given
    )


def _image(options: Options, context: TaskContext) -> TaskResult:
    states = {"present": _present, "sound": _sound, "compacted": _compacted}
    return states[options.word("state")](options, context)


def _sound(options: Options, context: TaskContext) -> TaskResult:
    from growdisk.api.images.checking import check_image

    path = options.place("image")
    # None: look only. The repair is a second check, if there is something to repair.
    report = check_image(path, None, format_of(options))
    if report is None or report.is_clean:
        return TaskResult(False, "no errors were found", report.as_json() if report else {})
    found = f"{report.leaks} leaks, {report.corruptions} errors"
    if context.check:
        return TaskResult(True, f"would be repaired: {found}", report.as_json())
    repaired = check_image(
        path, "all", format_of(options), overlays_may_break=options.flag("overlays_may_break")
    )
    # None is for raw images, which have been dealt with above.
    assert repaired is not None
    if not repaired.is_clean:
        raise ImageDamaged(path, "qcow2", f"it could not be repaired: {repaired.problems[0]}")
    return TaskResult(True, f"repaired: {found}", repaired.as_json())


def _compacted(options: Options, context: TaskContext) -> TaskResult:
    """A plan cannot know what there is to be had; a run says so when it was nothing."""
    from growdisk.api.images.compacting import compact_image

    path = options.place("image")
    if context.check:
        return TaskResult.planned(
            "in check mode it is not known whether there are unused clusters", changed=False
        )
    before, after = compact_image(path, overlays_may_break=options.flag("overlays_may_break"))
    changed = after < before
    return TaskResult(
        changed, f"{format_change(before, after)} on the host", {"before": before, "after": after}
    )


def _present(options: Options, context: TaskContext) -> TaskResult:
    path, text = options.place("image"), options.text("size")
    size = parse_goal_size(text) if text else None
    if not path.exists():
        return _created(options, context, size)
    info = image_info(path, format_of(options))
    # +10G grows it each time the task runs; TaskCheckpoint.pinned fixes the size for a resumed one.
    new = size.resolve(info.virtual_size) if size else info.virtual_size
    # Never shrunk: 40G is reached by what is larger as well.
    if new <= info.virtual_size:
        message = f"it is there, {info.format}, {format_size(info.virtual_size)}"
        return TaskResult(False, message, info.as_json())
    message = format_change(info.virtual_size, new)
    if context.check:
        return TaskResult.planned(f"would be done: {message}", before=info.virtual_size, after=new)
    preallocation = cast("Preallocation", options.word("preallocation"))
    resize_image(
        path,
        SizeSpec(new, relative=False),
        format_of(options),
        preallocation=preallocation,
        overlays_may_break=options.flag("overlays_may_break"),
    )
    return TaskResult(True, message, image_info(path).as_json())


def _created(options: Options, context: TaskContext, size: SizeSpec | None) -> TaskResult:
    path, backing = options.place("image"), options.path("backing")
    # An overlay has its backing file's size; +10G needs something to be added to.
    if (size is None and backing is None) or (size is not None and size.relative):
        raise options.error(f"{path} is not there, and its size is not said", "size: 40G")
    image_format = options.text("format") or format_of_new(path) or "qcow2"
    backing_format = cast("ImageFormat | None", options.text("backing_format"))
    if backing_format is not None and backing is None:
        raise options.error("backing_format needs a backing file", "backing: FILE")
    if image_format == "raw" and (size is None or backing is not None):
        raise options.error("a raw image has a size and no backing file", "format: qcow2")
    _refuse_no_folder(path)
    preallocation = options.word("preallocation")
    words = ",".join(w for w in (_create_options(options), f"preallocation={preallocation}") if w)
    # Parsed before check mode ends, so that a wrong option is found there too.
    reserved = raw_preallocation(words) if image_format == "raw" else "off"
    chosen = CreateOptions.parse(words if image_format == "qcow2" else "")
    if context.check:
        return TaskResult.planned(f"{path.name} would be created ({image_format})")
    if image_format == "raw":
        assert size is not None
        create_raw(path, size.bytes, reserved)
    else:
        below = str(backing) if backing else None
        create_qcow2(path, size.bytes if size else None, chosen, below, backing_format)
    return TaskResult(True, f"{path.name} created, {image_format}", image_info(path).as_json())


def _refuse_no_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise Refused.named(
            "no-folder",
            "cannot create an image in {folder}",
            "there is no such folder",
            "make it first",
            {"folder": path.parent},
        )


HANDLERS = {
    "snapshot": _snapshot,
    "rollback": _rollback,
    "commit": _commit,
    "convert": _convert,
    "image": _image,
}

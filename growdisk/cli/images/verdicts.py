"""Verbs whose exit codes are qemu-img's, not growdisk's own: growdisk image check, compare.

`check` counts all references again: 0 clean, 1 could not check, 2 corrupt, 3 leaks, 63 a format
that has nothing to check. `compare`: 0 the same bytes, 1 not, 2 unreadable. Those of errors are in
dispatch.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from growdisk.api.images.checking import check_image, repair_hint
from growdisk.cli.common_options import add_flag
from growdisk.cli.declaring import declare
from growdisk.cli.images.shared import add_format, add_path, note_run
from growdisk.cli.keys import add_key, keys_of
from growdisk.cli.output import CommandOutput
from growdisk.qcow2.check.checker import CheckReport

_CLEAN, _NOT_CHECKED, _CORRUPT, _LEAKS, _NOTHING_TO_CHECK = 0, 1, 2, 3, 63
_SAME, _DIFFERENT = 0, 1
_ALWAYS = ("filename", "format", "check-errors")


def check_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser)
    add_format(parser)
    parser.add_argument(
        "-r", dest="repair", choices=("leaks", "all"), help="repair leaked clusters, or all errors"
    )
    declare(parser, "overlays_may_break")
    parser.epilog = (
        "Exit codes: 0 clean, 1 could not check, 2 corrupt, 3 leaks, 63 not a format "
        "that can be checked."
    )


def run_check(arguments: argparse.Namespace, output: CommandOutput) -> int:
    path, form, may_break = arguments.path, arguments.format, arguments.overlays_may_break
    with output.working(f"checking {path.name}"):
        report = check_image(path, arguments.repair, form, overlays_may_break=may_break)
    if report is None:
        text = "a raw image has nothing that could be checked"
        output.note(f"growdisk: {path}: {text}")
        output.document({"error": {"what": text, "why": "", "do": "", "code": _NOTHING_TO_CHECK}})
        return _NOTHING_TO_CHECK
    # qemu-img leaves counts of zero out as well.
    shown = {key: value for key, value in report.as_json().items() if value or key in _ALWAYS}
    output.document(shown, own=False)
    if output.json_mode:  # the keys are qemu-img's, and have no place for words
        for problem in report.problems:
            output.note(problem)
    output.lines(_lines(report))
    if report.corruptions and not arguments.repair:
        output.note(f"growdisk: {repair_hint(path) or 'growdisk cannot mend it'}")
    return _exit_code(report)


def _exit_code(report: CheckReport) -> int:
    if report.check_errors:
        return _NOT_CHECKED
    if report.corruptions:
        return _CORRUPT
    return _LEAKS if report.leaks else _CLEAN


def _lines(report: CheckReport) -> Iterator[str]:
    # Where qemu-img has a sentence for it, ours begins in the same words.
    yield from report.problems
    if report.leaks_fixed or report.corruptions_fixed:
        yield (
            f"Repaired: {report.leaks_fixed} leaked clusters, {report.corruptions_fixed} "
            "corruptions."
        )
    if report.is_clean:
        yield "No errors were found on the image."
    if report.corruptions:
        yield f"{report.corruptions} errors were found on the image. Data may be corrupted."
    if report.leaks:
        yield (
            f"{report.leaks} leaked clusters were found on the image: space is wasted, no data "
            "are in danger (-r leaks gives it back)."
        )
    if report.check_errors:
        yield f"{report.check_errors} internal errors have occurred during the check."
    total, allocated = report.total_clusters, report.allocated_clusters
    if total and allocated:
        yield (
            f"{allocated}/{total} = {100 * allocated / total:.2f}% allocated, "
            f"{100 * report.fragmented_clusters / allocated:.2f}% fragmented, "
            f"{100 * report.compressed_clusters / allocated:.2f}% compressed clusters"
        )
    yield f"Image end offset: {report.image_end_offset}"


def compare_arguments(parser: argparse.ArgumentParser) -> None:
    add_path(parser, "first", metavar="A")
    add_path(parser, "second", metavar="B")
    parser.add_argument(
        "-f", "--format", choices=("qcow2", "raw"), help="the format of A (default: probed)"
    )
    text = "the format of B (default: probed)"
    parser.add_argument("-F", dest="other_format", choices=("qcow2", "raw"), help=text)
    add_flag(parser, "-s --strict", "images of different size are never the same")
    add_key(parser)


def run_compare(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # Not for `check`, which has nothing to do with what makes comparing quick.
    from growdisk.api.images.comparing import compare_images

    first, second, keys = arguments.first, arguments.second, keys_of(arguments)
    for path in (first, second):
        note_run(path, output)
    formats = (arguments.format, arguments.other_format)
    with output.bar(f"comparing {first.name}") as progress:
        found = compare_images(first, second, formats, keys, progress)
    if found.sizes_differ:
        output.note(f"the sizes differ: {found.sizes[0]} and {found.sizes[1]} bytes")
    # Without --strict the shorter one counts as if zeros followed: sizes may differ then.
    same = found.offset is None and not (arguments.strict and found.sizes_differ)
    output.document({"identical": same, "offset": found.offset, "sizes": list(found.sizes)})
    if found.offset is not None:
        output.lines([f"Content mismatch at offset {found.offset}!"])
    elif same:
        output.lines(["Images are identical."])
    else:
        output.lines(["The sizes differ, the rest is zeros."])
    return _SAME if same else _DIFFERENT

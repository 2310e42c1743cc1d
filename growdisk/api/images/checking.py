"""Checking an image, and repairing what can be repaired."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from growdisk.api.guard import ConflictGuard
from growdisk.api.images.opening import format_of, report_host_errors
from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, ImageDamaged, ImageError, ReferenceOutside, shell_word
from growdisk.fast_dataclass import replace
from growdisk.qcow2.check.checker import CheckReport, analyse, check
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header, read_header
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import exists
from growdisk.qcow2.probe import ImageFormat
from growdisk.qcow2.repair import refuse_broken, repair

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    Repair = Literal["leaks", "all"]


def check_image(
    path: Path,
    repair_what: Repair | None = None,
    image_format: ImageFormat | None = None,
    *,
    overlays_may_break: bool = False,
) -> CheckReport | None:
    """The state of an image, after the repair if one is asked for.

    None: a raw image has nothing to be checked.
    """
    if format_of(path, image_format, writing=repair_what is not None) == "raw":
        return None
    report, names_files = _checked(path, repair_what, overlays_may_break=overlays_may_break)
    return _with_its_files(path, report) if names_files else report


def _with_its_files(path: Path, report: CheckReport) -> CheckReport:
    """The report, with what stands against opening the files that the image names.

    Without its data file the image has an error; a backing file is only noted.
    """
    # Without the backing file first: what fails then is the image's own part.
    lost = _problem(path, report, with_backing=False)
    if lost is not None:
        return replace(
            report, check_errors=report.check_errors + 1, problems=(*report.problems, lost)
        )
    note = _problem(path, report, with_backing=True)
    return report if note is None else replace(report, problems=(*report.problems, note))


def _problem(path: Path, report: CheckReport, *, with_backing: bool) -> str | None:
    try:
        with Qcow2Image.open(path, with_backing=with_backing) as image:
            is_short = (
                image.header.has(Incompatible.DATA_FILE) and image.host_file.size < image.size
            )
            return "its external data file is shorter than its disk" if is_short else None
    except ReferenceOutside as error:
        # Not a fault of the image: the second look notes it.
        if not with_backing and exists(error.target):
            return None  # noted below
        state = (
            "was not looked at (--trust-references)" if exists(error.target) else "does not exist"
        )
        return f"its {error.role} '{error.name}' lies outside its folder and {state}"
    except GrowdiskError as error:
        # The check has said it better than the opening does.
        is_reported = report.has_errors and isinstance(error, ImageDamaged) and error.path == path
        return None if is_reported else f"it cannot be opened with all files that it names: {error}"


def _checked(
    path: Path, repair_what: Repair | None, *, overlays_may_break: bool
) -> tuple[CheckReport, bool]:
    """The report on the image alone, and whether it names other files."""
    writing = repair_what is not None
    with (
        closing(RawFile.open(path, writable=writing)) as file,
        report_host_errors(path, writing=writing),
    ):
        if repair_what is None:
            report = check(file, path)
        else:
            ConflictGuard(path, overlays_may_break)(file, _header(file, path))
            thorough = repair_what == "all"
            report = repair(file, path, errors=thorough, accept_loss=thorough)
        header = read_header(file, path)
        return report, header.backing_file is not None or header.has(Incompatible.DATA_FILE)


def _header(file: RawFile, path: Path) -> Header | None:
    """None if it cannot be read, which the repair says better."""
    try:
        return read_header(file, path)
    except ImageError:
        return None


def repair_hint(path: Path) -> str | None:
    """What to do about a damaged image, if check -r all can mend it. Reads all of its tables."""
    try:
        with closing(RawFile.open(path, lock=False)) as file:
            analysis = analyse(file, path)
        # What `check -r all` would refuse to mend is not advised.
        refuse_broken(analysis, errors=True, accept_loss=True)
    except (GrowdiskError, OSError):
        return None
    lost = " (what the file has lost will read as zeros)" if analysis.findings.cut_off else ""
    is_mended = analysis.report().has_errors or analysis.header.has(Incompatible.CORRUPT)
    return f"mend it: growdisk image check -r all {shell_word(path)}{lost}" if is_mended else None

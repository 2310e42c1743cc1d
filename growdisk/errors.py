"""Every error that growdisk raises on purpose: what happened, why, what to do about it.

    GrowdiskError
    ├── UsageError        exit 2   the command line cannot be understood
    ├── Refused           exit 3   nothing has been touched
    │   ├── ImageError         the image cannot be used (damaged, unknown features, in use, ...)
    │   └── TableDamaged, CannotGrow, ...   what is inside the disk
    ├── OperationFailed   exit 4   a tool or the system failed; the engine restores what was begun
    └── NeedsUser         exit 5   growdisk cannot finish or restore this alone

What code tells apart by `except` has a class, which declares its text. All else has an id and texts
where it is raised: `raise Refused.named("disk-busy", ...)`. Both have their facts as fields, which
`--json` shows. The exit code says how the disk stands, not what kind of thing went wrong.
"""

from __future__ import annotations

from os.path import lexists
from pathlib import Path

from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar, Self


@dataclass(eq=False)
class GrowdiskError(Exception):
    """Base of all expected errors.

    `what`, `why` and `what_to_do` are the templates filled with its fields.
    """

    ID: ClassVar[str] = ""
    exit_code: ClassVar[int] = 3
    WHAT: ClassVar[str] = "something went wrong"
    WHY: ClassVar[str] = ""
    DO: ClassVar[str] = ""

    @classmethod
    def named(cls, id: str, what: str, why: str, do: str, facts: dict[str, object]) -> Self:
        """An error without a class of its own: stable id, three templates, the facts in them.

        Texts and keys are constants: docs/json.md is written from them (setup/error_ids.py). Sizes
        are units.Bytes, several things a tuple. A fact whose name begins with _, and `hint`, are
        wording, which `--json` has within the texts alone.
        """
        # __init__ is passed by: the fields of `cls` need not be among these facts.
        error = cls.__new__(cls)
        # On the instance they hide the class's own, which `what`, `why` and `error_id` read.
        vars(error).update(ID=id, WHAT=what, WHY=why, DO=do, **facts)
        return error

    @classmethod
    def because(cls, id: str, what: str, reason: str, hint: str, **facts: object) -> Self:
        """The same where it is found out why it is so, and what to do: two texts, no templates."""
        return cls.named(id, what, "{reason}", "{hint}", {**facts, "reason": reason, "hint": hint})

    @property
    def what(self) -> str:
        return self.WHAT.format_map(_Fields(self))

    @property
    def why(self) -> str:
        return self.WHY.format_map(_Fields(self))

    @property
    def what_to_do(self) -> str:
        return self.DO.format_map(_Fields(self, pasteable=True))

    def advise_also(self, more: str) -> None:
        """Add `more`, which is no template, to what the user is told to do."""
        vars(self)["DO"] = self.DO + more.replace("{", "{{").replace("}", "}}")

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class _Fields(dict[str, object]):
    """An error's fields and properties for format_map; `pasteable`: a path is part of a command."""

    def __init__(self, error: GrowdiskError, *, pasteable: bool = False) -> None:
        super().__init__()
        self._error, self._pasteable = error, pasteable

    def __missing__(self, name: str) -> object:
        # The dict stays empty, so every name of a template comes here. getattr finds properties as
        # well: ToolFailed.reason and cure are such.
        value: object = getattr(self._error, name)
        if isinstance(value, tuple):
            return ", ".join(map(str, value)) or "none"
        if self._pasteable and isinstance(value, Path):
            return shell_word(value)
        return value


def error_id(error: GrowdiskError | type[GrowdiskError]) -> str:
    """The stable name of a kind of error: `image-in-use`.

    A class that is renamed keeps its old id as ID.
    """
    if error.ID:
        return error.ID
    name = (error if isinstance(error, type) else type(error)).__name__
    dashed = (f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
    return "".join(dashed).lstrip("-")


def shell_word(path: Path) -> str:
    """A path as it can be pasted after a command."""
    # -f.qcow2 would be read as an option, quoted or not.
    return shell_quoted(f"./{path}" if str(path).startswith("-") else str(path))


def shell_quoted(word: str) -> str:
    import shlex

    # Line breaks and bytes that are not UTF-8 would be shown as ?, which names no file.
    escaped = word.encode(errors="surrogateescape").decode("latin-1").encode("unicode_escape")
    ansi = escaped.decode().replace("'", r"\'")
    return shlex.quote(word) if word.isprintable() else f"$'{ansi}'"


# --- exit 2: the command line -------------------------------------------------------------------


@dataclass(eq=False)
class UsageError(GrowdiskError):
    """The command line, or a value that a program gave, cannot be understood: exit code 2."""

    exit_code = 2
    WHAT = "{problem}"
    WHY = "{reason}"
    DO = "{hint}"
    problem: str
    hint: str = "see growdisk --help"
    reason: str = ""


@dataclass(eq=False)
class BadSize(UsageError):
    WHAT = "cannot read the size '{problem}'"
    hint: str = (
        "write +10G to grow by 10 GiB, or 40G to grow to 40 GiB (b k M G T P E, powers of 1024)"
    )


def bad_value(
    problem: str, option: str, value: str, hint: str, reason: str = "", choices: Iterable[str] = ()
) -> UsageError:
    """An option (or, `option` "", an argument) cannot be that; `choices` if it has a few."""
    return UsageError.named(
        "bad-value",
        "{problem}",
        "{reason}",
        "{hint}",
        {
            "problem": problem,
            "option": option,
            "value": value,
            "reason": reason,
            "choices": tuple(choices),
            "hint": hint,
        },
    )


def options_conflict(problem: str, options: tuple[str, ...], hint: str) -> UsageError:
    """These are not given together."""
    return UsageError.named(
        "options-conflict",
        "{problem}",
        "",
        "{hint}",
        {"problem": problem, "options": options, "hint": hint},
    )


# --- exit 3: refused, nothing touched -----------------------------------------------------------


@dataclass(eq=False)
class Refused(GrowdiskError):
    """Nothing was touched: exit code 3."""

    exit_code = 3


@dataclass(eq=False)
class ImageError(Refused):
    """Something about the image file itself."""

    path: Path


@dataclass(eq=False)
class ImageNotReadable(ImageError):
    WHAT = "cannot open {path}"
    WHY = "{reason}"
    DO = "{hint}"
    reason: str
    hint: str = "check the path and its permissions"


@dataclass(eq=False)
class ImageInUse(ImageError):
    WHAT = "{path} is in use"
    WHY = "{holder} has it open"
    DO = (
        "shut the guest down (or end that program) and run the same command again; meanwhile "
        "growdisk image info -U {path} describes it"
    )
    holder: str


@dataclass(eq=False)
class ImageDamaged(ImageError):
    WHAT = "{path} is not a sound {format} image"
    WHY = "{reason}"
    DO = "{hint}; growdisk has not changed it"
    format: str
    reason: str
    hint: str = "restore it from a backup, or try qemu-img check -r all on a copy of it"


@dataclass(eq=False)
class ImageUnsupported(ImageError):
    WHAT = "cannot work on {path}"
    WHY = "{reason}"
    DO = "{hint}"
    reason: str
    hint: str = "convert it to a plain qcow2 image first; growdisk has not changed it"


@dataclass(eq=False)
class RefcountsTooNarrow(ImageUnsupported):
    """Raised before anything is written: who can widen them may try again."""

    hint: str = (
        "delete a snapshot, or convert the image to wider refcounts; growdisk has not changed it"
    )


@dataclass(eq=False)
class ReferenceOutside(ImageError):
    """Raised before that file is opened. `target` is where it lies."""

    WHAT = "{path} names a file outside its own folder"
    WHY = (
        "its {role} is '{name}', and an image from a stranger could so reach any file of this host"
    )
    DO = "if you trust the image, say --trust-references; growdisk has not opened that file"
    name: str
    role: str
    target: Path


def destination_exists(path: Path) -> ImageError:
    return ImageError.named(
        "destination-exists",
        "cannot create {path}",
        "it exists already",
        "choose another name, or remove it first",
        {"path": path},
    )


def not_created(
    path: Path,
    reason: str,
    hint: str = "free some space on the host (df -h) and run the same command again",
) -> ImageError:
    """Something was to be made and could not be: what there was of it has been removed."""
    return ImageError.named(
        "not-created",
        "cannot create {_new}{path}",
        "{reason}",
        "{hint}; nothing was left behind",
        {"path": path, "reason": reason, "hint": hint, "_new": "a new " if lexists(path) else ""},
    )


@dataclass(eq=False)
class KeyNeeded(ImageError):
    """Raised before anything is written: a caller that can ask for the passphrase may try again."""

    WHAT = "cannot work on {path}"
    WHY = "{reason}"
    DO = "give its passphrase (--key-file FILE); growdisk has not changed it"
    reason: str = "it is encrypted, and its guest data need the passphrase"


@dataclass(eq=False)
class WrongKey(ImageError):
    WHAT = "cannot unlock {path}"
    WHY = "the passphrase opens none of its key slots"
    DO = "give the right one (--key-file FILE; a line break at its end counts); nothing was changed"


FOR_TABLE_TOOLS = "in the guest, on a device or on a raw image; not on qcow2, which it cannot read"
"""Where a program that edits partition tables does what a hint says; elsewhere it does harm."""


@dataclass(eq=False)
class TableDamaged(Refused):
    WHAT = "the partition table of {path} is damaged"
    WHY = "{reason}"
    DO = "{hint}; growdisk has not changed it"
    path: Path
    reason: str
    hint: str = f"look at it with fdisk -l, and repair it with fdisk {FOR_TABLE_TOOLS}"


@dataclass(eq=False)
class ToolMissing(Refused):
    """A program that growdisk needs is not installed."""

    WHAT = "cannot run {tool}"
    WHY = "it is not installed on this machine"
    DO = "sudo apt-get install {package}"
    tool: str
    package: str


# --- exit 4: an operation failed ----------------------------------------------------------------


@dataclass(eq=False)
class OperationFailed(GrowdiskError):
    """A tool or the system failed, and what was begun is restored: exit code 4."""

    exit_code = 4


def write_failed(
    path: Path,
    reason: str,
    hint: str = "free some space on the host (df -h) and run growdisk again",
) -> OperationFailed:
    return OperationFailed.because("write-failed", "cannot write {path}", reason, hint, path=path)


@dataclass(eq=False)
class ToolFailed(OperationFailed):
    """A program said no. Where `tool` is words for what was tried, `detail` is ours."""

    WHAT = "{tool} failed"
    WHY = "{reason}"
    DO = "{cure}"
    tool: str
    status: int
    detail: str
    hint: str = ""

    @property
    def reason(self) -> str:
        # Our own words, not a tool's: there is nothing to explain in them.
        if " " in self.tool:
            return self.detail
        return self._meaning[0] or (
            f'{self.tool} ended with status {self.status}, and its own words were: "{self.detail}"'
        )

    @property
    def cure(self) -> str:
        return (
            self.hint
            or self._meaning[1]
            or "run growdisk again with -v -x to see what was run, and its whole answer"
        )

    @property
    def _meaning(self) -> tuple[str, str]:
        from growdisk.tool_words import meaning

        return ("", "") if " " in self.tool else meaning(self.detail) or ("", "")


@dataclass(eq=False)
class ToolTimedOut(OperationFailed):
    WHAT = "{tool} did not finish within {seconds:.0f} s"
    WHY = "{detail}"
    DO = "see whether the machine is overloaded (uptime), and run growdisk again"
    tool: str
    seconds: float
    detail: str = "it was ended"


# --- exit 5: a person is needed -----------------------------------------------------------------


@dataclass(eq=False)
class NeedsUser(GrowdiskError):
    """growdisk can neither finish nor restore this alone: exit code 5."""

    exit_code = 5

"""The files of an output: two hidden ones while it is made, then the one that has its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import create_overlay, create_qcow2
from growdisk.api.images.data_copy import Progress, copy_image
from growdisk.api.images.layers import copy_own
from growdisk.api.provisioning.checks import Base
from growdisk.api.provisioning.recipe import Recipe
from growdisk.api.provisioning.result import output_exists
from growdisk.block.raw import RawFile
from growdisk.durable import open_locked, publish, sync_directory, sync_file
from growdisk.errors import GrowdiskError, ImageInUse
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest


class WorkImage:
    """One output of `recipe` from `base`."""

    def __init__(self, base: Base, path: Path, recipe: Recipe, stop: StopRequest) -> None:
        self._base, self._recipe, self.path, self._stop = base, recipe, path, stop
        self.format: ImageFormat = recipe.format_of(path) or base.format
        self._work, self._new = _hidden_names(path)
        # An overlay is the result itself: it is written again to have its clusters in order.
        self._is_rewritten = recipe.reproducible or (
            # Copying the base's file would give none of these.
            not recipe.overlay
            and (recipe.compressed or self.format != base.format or not base.is_plain)
        )

    @contextmanager
    def begun(self, *, force: bool) -> Iterator[tuple[Path, ImageFormat]]:
        """The hidden image to work on, and its format.

        After the block OUT is there, or nothing is left.
        """
        with self._hidden_ones():
            # The caller works on the hidden image here.
            yield self._hidden()
            self._finish(force=force)

    @contextmanager
    def tried(self) -> Iterator[Path]:
        """An overlay of the base to plan on, of which nothing is left after the block.

        What stands against a change of the base itself (it is read-only, other images lie on it)
        stands against no output.
        """
        with self._hidden_ones():
            create_overlay(self._base.path, self._work, self._base.format, self._base.luks)
            yield self._work

    @contextmanager
    def _hidden_ones(self) -> Iterator[None]:
        """The hidden names are free, and nobody else uses them; they are free again afterwards."""
        hidden_ones = self._work, self._new
        with exclusive_output(self.path):
            # Locked: what is there is of a process that was killed.
            for hidden in hidden_ones:
                _remove_left_over(hidden)
            try:
                yield
            except GrowdiskError as error:
                # Its facts make the message: the name that its reader knows.
                known = {k: self.path for k, value in vars(error).items() if value in hidden_ones}
                vars(error).update(known)
                raise
            finally:
                for hidden in hidden_ones:
                    hidden.unlink(missing_ok=True)
                    # Growing it was a run, with a record of its own.
                    RunDirectory.of(hidden).forget()

    def _hidden(self) -> tuple[Path, ImageFormat]:
        if self._is_rewritten or self._recipe.overlay:
            hidden = self._work if self._is_rewritten else self._new
            create_overlay(self._base.path, hidden, self._base.format, self._base.luks)
            return hidden, "qcow2"
        copy_image(self._base.path, self._new, "auto", self._checking)
        return self._new, self.format

    def _finish(self, *, force: bool) -> None:
        if self._is_rewritten and self._recipe.overlay:
            keys = self._recipe.keys
            rewrite_overlay(self._work, self._new, self._base.luks, keys, self._checking)
        elif self._is_rewritten:
            source = Source(self._work, "qcow2", key=self._recipe.keys)
            convert_image(source, self._new, self._target(), self._checking)
        put_in_place(self._new, self.path, force=force)

    def _checking(self, done: int, total: int) -> None:
        """Progress of a long copy: the place where it can be stopped."""
        self._stop.check()

    def _target(self) -> RawTarget | Qcow2Target:
        if self.format == "raw":
            return RawTarget()
        compression = self._recipe.compression
        options = CreateOptions.parse(f"compression_type={compression}" if compression else "")
        return Qcow2Target(
            options, self._recipe.compressed, luks=self._base.luks, keys=self._recipe.keys
        )


def _hidden_names(path: Path) -> tuple[Path, Path]:
    """Where an output is worked on, and where it is made."""
    return (
        path.with_name(f".{path.name}.growdisk-work"),
        path.with_name(f".{path.name}.growdisk-new"),
    )


def remove_left_over(path: Path) -> None:
    """Remove what a process that was killed left of an output. ImageInUse."""
    with exclusive_output(path):
        for hidden in _hidden_names(path):
            _remove_left_over(hidden)


def _remove_left_over(hidden: Path) -> None:
    """What a killed process left there. ImageInUse while another growdisk is at work on it."""
    # Opened only to be refused if somebody holds it.
    if os.path.lexists(hidden):
        RawFile.open(hidden, writable=True).close()
        hidden.unlink()
    RunDirectory.of(hidden).forget()


# An overlay's clusters lie in the order in which they were first written to, which may differ
# between runs that write the same; written again, both are the same bytes.


def rewrite_overlay(
    path: Path, new: Path, luks: bytes, keys: tuple[bytes, ...], progress: Progress
) -> None:
    """Make `new` show what the overlay `path` shows, on the same base and as encrypted.

    It must be in the same folder.
    """
    with Qcow2Image.open(path, key=keys) as overlay:
        backing_format: ImageFormat = "qcow2" if overlay.header.backing_format == "qcow2" else "raw"
        create_qcow2(
            new,
            overlay.size,
            CreateOptions(),
            overlay.header.backing_file,
            backing_format,
            luks=luks,
        )
        with Qcow2Image.open(new, writable=True, key=keys) as image:
            # All else comes from the base, in both.
            copy_own(overlay, image, progress)
            image.flush()


@contextmanager
def hidden_file(path: Path) -> Iterator[Path]:
    """Where a small file is written that gets the name `path`; without it, nothing is left."""
    _, hidden = _hidden_names(path)
    try:
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


@contextmanager
def exclusive_output(path: Path) -> Iterator[None]:
    """Nobody else makes an output at `path` meanwhile: both would use the same hidden names.

    ImageInUse.
    """
    lock = path.with_name(f".{path.name}.growdisk-lock")
    try:
        fd = open_locked(lock, 0o644)
    except BlockingIOError as error:
        raise ImageInUse(path, holder="another growdisk, which is making it,") from error
    try:
        yield
    finally:
        # Removed while it is held: who waits sees that its file is gone, and makes a new one.
        lock.unlink(missing_ok=True)
        os.close(fd)


def put_in_place(hidden: Path, path: Path, *, force: bool) -> None:
    """Give the finished image its name, durably and atomically, perhaps in place of another.

    ImageInUse if somebody has opened the other one meanwhile.
    """
    sync_file(hidden)
    if force:
        with closing(RawFile.open(path, writable=True)) if path.exists() else nullcontext():
            os.replace(hidden, path)  # noqa: PTH105  beside publish(), its sister
            # What was recorded there was about the image that is gone now.
            RunDirectory.of(path).forget()
        sync_directory(path.absolute().parent)
        return
    try:
        # Not rename(), which would replace what somebody has put there meanwhile.
        publish(hidden, path)
    except FileExistsError as error:
        raise output_exists(path) from error
    with suppress(OSError):  # the output is there; it is gone where files have one name
        hidden.unlink(missing_ok=True)

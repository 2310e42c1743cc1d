"""The files of an output: two hidden ones while it is made, then the one that has its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path

from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import create_overlay, create_qcow2
from growdisk.api.images.data_copy import copy_image
from growdisk.api.images.opening import open_device
from growdisk.api.images.pump import CHUNK
from growdisk.api.provisioning.checks import encryption_of
from growdisk.api.provisioning.recipe import Recipe
from growdisk.api.provisioning.result import output_exists
from growdisk.block.raw import RawFile
from growdisk.durable import give_name, open_locked, sync_directory, sync_file
from growdisk.errors import GrowdiskError, ImageInUse
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import split_range
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest


class WorkImage:
    """One output of `recipe` from `base`, which is of `base_format`."""

    def __init__(
        self, base: Path, base_format: ImageFormat, path: Path, recipe: Recipe, stop: StopRequest
    ) -> None:
        self._base, self._base_format, self._recipe, self.path = base, base_format, recipe, path
        self._stop = stop
        self._luks = encryption_of(base, base_format)
        self.format: ImageFormat = (
            "qcow2"
            if recipe.overlay or (recipe.compressed and not recipe.format)
            else recipe.format or base_format
        )
        self._work, self._new = _hidden_names(path)

    @cached_property
    def _is_rewritten(self) -> bool:
        """Whether the work is done on an overlay of its own first."""
        # An overlay is the result itself; it is written again only to have its clusters in order.
        recipe = self._recipe
        if recipe.overlay:
            return recipe.reproducible
        return (
            # Copying the base's file would give none of these.
            recipe.compressed
            or recipe.reproducible
            or self.format != self._base_format
            or not self._is_plain()
        )

    @contextmanager
    def begun(self, *, force: bool) -> Iterator[tuple[Path, ImageFormat]]:
        """The hidden image to work on, and its format.

        After the block OUT is there, or nothing is left.
        """
        hidden_ones = _hidden_names(self.path)
        with exclusive_output(self.path):
            # Locked: what is there is of a process that was killed.
            for hidden in hidden_ones:
                _remove_left_over(hidden)
            try:
                # The caller works on the hidden image here.
                yield self._hidden()
                self._finish(force=force)
            except GrowdiskError as error:
                # Its facts make the message: the name that its reader knows.
                known = {k: self.path for k, value in vars(error).items() if value in hidden_ones}
                vars(error).update(known)
                raise
            finally:
                for hidden in hidden_ones:
                    hidden.unlink(missing_ok=True)
                    # Growing it was a run, with a record of its own.
                    RunDirectory(hidden).forget()

    def _hidden(self) -> tuple[Path, ImageFormat]:
        if self._is_rewritten or self._recipe.overlay:
            hidden = self._work if self._is_rewritten else self._new
            create_overlay(self._base, hidden, self._base_format, self._luks)
            return hidden, "qcow2"
        copy_image(self._base, self._new, "auto", self._checking)
        return self._new, self.format

    def _finish(self, *, force: bool) -> None:
        if self._is_rewritten and self._recipe.overlay:
            rewrite_overlay(self._work, self._new, self._luks, self._recipe.keys)
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
            options, self._recipe.compressed, luks=self._luks, keys=self._recipe.keys
        )

    def _is_plain(self) -> bool:
        """Whether the base's file can be copied as it is: alone, and without a past."""
        with closing(open_device(self._base, self._base_format)) as device:
            if isinstance(device, RawFile):
                return not device.is_block_device
            header = device.header
            external = header.has(Incompatible.DATA_FILE)
            return not (
                header.backing_file or header.crypt_method or header.snapshot_count or external
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
    RunDirectory(hidden).forget()


# The last two actions on an output: an overlay written again in the order of the disk, and the name
# that it gets.
#
# A qcow2 file's clusters lie in the order in which they were first written to. Two runs that write
# the same may do so in another order; written again, both are the same bytes.


def rewrite_overlay(path: Path, new: Path, luks: bytes = b"", keys: tuple[bytes, ...] = ()) -> None:
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
            for run in overlay.runs(0, overlay.size):
                if run.kind is L2Kind.UNALLOCATED:
                    # From the base, in both.
                    continue
                if run.kind in (L2Kind.ZERO_PLAIN, L2Kind.ZERO_ALLOCATED):
                    image.write_zeros(run.start, run.end - run.start)
                    continue
                for start, end in split_range(run.start, run.end, CHUNK):
                    image.write(start, overlay.read(start, end - start))
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
        # Removed while it is held: who waits for it sees that its file is gone, and makes a new
        # one.
        lock.unlink(missing_ok=True)
        os.close(fd)


def put_in_place(hidden: Path, path: Path, *, force: bool) -> None:
    """Give the finished image its name, durably and atomically, perhaps in place of another.

    ImageInUse if somebody has opened the other one meanwhile.
    """
    sync_file(hidden)
    folder = path.absolute().parent
    if force:
        with closing(RawFile.open(path, writable=True)) if path.exists() else nullcontext():
            os.replace(hidden, path)  # noqa: PTH105  beside give_name, its sister
            # What was recorded there was about the image that is gone now.
            RunDirectory(path).forget()
        sync_directory(folder)
        return
    try:
        # Not rename(), which would replace what somebody has put there meanwhile.
        give_name(hidden, path)
    except FileExistsError as error:
        raise output_exists(path) from error
    try:
        sync_directory(folder)
    except OSError:
        path.unlink()
        raise
    with suppress(OSError):  # the output is there; it is gone where files have one name
        hidden.unlink(missing_ok=True)

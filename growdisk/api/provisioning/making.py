"""The two files of an output that is being made, and how the base gets into them.

    plain      base ─copy▶ NEW, worked on in place ─rename▶ OUT
    overlay    NEW on top of the base, worked on in place ─rename▶ OUT
    otherwise  WORK on top of the base, worked on ─convert▶ NEW ─rename▶ OUT

Otherwise: another format, compressed, reproducible, or a base that is more than one plain file.

NEW and WORK are hidden beside OUT; whatever fails, both are removed, and OUT is as it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.copying import copy_image
from growdisk.api.images.creating import create_overlay
from growdisk.api.images.opening import open_device
from growdisk.api.provisioning.encrypted import encryption_of
from growdisk.api.provisioning.recipe import Recipe
from growdisk.api.provisioning.rewriting import exclusive_output, put_in_place, rewrite_overlay
from growdisk.block.raw import RawFile
from growdisk.errors import ImageError
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.probe import ImageFormat
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest


class Making:
    """One output of `recipe` from `base`, which is of `base_format`."""

    def __init__(self, base: Path, base_format: ImageFormat, path: Path, recipe: Recipe, stop: StopRequest) -> None:
        self._base, self._base_format, self._recipe, self.path = base, base_format, recipe, path
        self._stop = stop
        self._luks = encryption_of(base, base_format)
        self.format: ImageFormat = "qcow2" if recipe.overlay else recipe.format or _made_of(base_format, recipe)
        self._new = path.with_name(f".{path.name}.growdisk-new")
        self._work = path.with_name(f".{path.name}.growdisk-work")

    @property
    def _in_two(self) -> bool:
        """Whether the work is done on an overlay of its own first."""
        recipe = self._recipe
        if recipe.overlay:
            return recipe.reproducible
        return recipe.compressed or recipe.reproducible or self.format != self._base_format or not self._is_plain()

    @contextmanager
    def begun(self, *, force: bool) -> Iterator[tuple[Path, ImageFormat]]:
        """The hidden image to work on, and its format. After the block OUT is there, or nothing is left."""
        with exclusive_output(self.path):
            yield from self._begun(force=force)

    def _begun(self, *, force: bool) -> Iterator[tuple[Path, ImageFormat]]:
        for hidden in (self._work, self._new):
            _remove_left_over(hidden)
        try:
            yield self._hidden()
            self._finish(force=force)
        except ImageError as error:
            if error.path in (self._work, self._new):
                error.path = self.path  # the name that its reader knows
            raise
        finally:
            for hidden in (self._work, self._new):
                hidden.unlink(missing_ok=True)
                RunDirectory(hidden).forget()

    def _hidden(self) -> tuple[Path, ImageFormat]:
        if self._in_two or self._recipe.overlay:
            hidden = self._work if self._in_two else self._new
            create_overlay(self._base, hidden, self._base_format, self._luks)
            return hidden, "qcow2"
        copy_image(self._base, self._new, "auto", self._checking)
        return self._new, self.format

    def _finish(self, *, force: bool) -> None:
        if self._in_two and self._recipe.overlay:
            rewrite_overlay(self._work, self._new, self._luks, self._recipe.keys)
        elif self._in_two:
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
        return Qcow2Target(options, self._recipe.compressed, luks=self._luks, keys=self._recipe.keys)

    def _is_plain(self) -> bool:
        """Whether the base's file can be copied as it is: alone, and without a past."""
        with closing(open_device(self._base, self._base_format)) as device:
            if isinstance(device, RawFile):
                return not device.is_block_device
            header = device.header
            external = header.has(Incompatible.DATA_FILE)
            return not (header.backing_file or header.crypt_method or header.snapshot_count or external)


def _made_of(base_format: ImageFormat, recipe: Recipe) -> ImageFormat:
    return "qcow2" if recipe.compressed else base_format


def _remove_left_over(hidden: Path) -> None:
    """What a killed process left there. ImageInUse while another growdisk is at work on it."""
    if os.path.lexists(hidden):
        RawFile.open(hidden, writable=True).close()
        hidden.unlink()
    RunDirectory(hidden).forget()

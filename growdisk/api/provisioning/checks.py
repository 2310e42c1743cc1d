"""What is checked before any output is made: the base, the recipe, the places of outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from growdisk.api.images.opening import format_of, open_device, require_keys
from growdisk.api.provisioning.recipe import Output, Recipe
from growdisk.api.provisioning.result import not_provisioned, output_exists
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import UsageError
from growdisk.qcow2.header_fields import LUKS
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import real
from growdisk.qcow2.probe import ImageFormat
from growdisk.workflow.run_directory import RunDirectory, refuse_if_open


def look_at_base(base: Path, base_format: ImageFormat | None) -> tuple[ImageFormat, list[Path]]:
    """The base's format, and the files that it consists of.

    ImageInUse while somebody writes to one of them.
    """
    found = format_of(base, base_format, writing=True)
    with closing(open_device(base, found)) as device:
        return found, [real(path) for path in _layers(device)]


def refuse_outputs(outputs: Sequence[Output]) -> None:
    """UsageError for a list that cannot be meant."""
    if not outputs:
        raise UsageError("no output is named", hint="growdisk provision BASE OUT, or --list FILE")
    seen: set[Path] = set()
    for output in outputs:
        # Not real() of all of it: a link that is to be replaced is a name of its own.
        place = real(output.path.absolute().parent) / output.path.name
        if place in seen:
            raise UsageError(
                f"{output.path} is named twice", hint="every output needs a name of its own"
            )
        seen.add(place)


def refuse_place(path: Path, layers: Sequence[Path], *, force: bool) -> None:
    """Raise what stands against an image at `path`."""
    parent = path.absolute().parent
    if not parent.is_dir():
        raise not_provisioned(
            path, reason=f"there is no folder {parent}", hint=f"make it first: mkdir -p {parent}"
        )
    if not os.path.lexists(path):
        return
    if real(path) in layers:
        # Also with --force: the base would be gone while it is read.
        raise not_provisioned(
            path, reason="the base consists of it", hint="choose another name for the output"
        )
    if not force:
        raise output_exists(path)
    if not path.is_file():
        raise not_provisioned(
            path, reason="it is not a file that could be replaced", hint="choose another name"
        )
    RawFile.open(path, writable=True).close()  # refused while a guest has it open
    # Its run would have nothing left to go back to.
    refuse_if_open(RunDirectory.of(path))


def refuse_contradictions(recipe: Recipe) -> None:
    """UsageError for what no image can be."""
    problem = hint = ""
    if recipe.overlay and (recipe.compressed or recipe.format == "raw"):
        problem = "an overlay is an uncompressed qcow2"
        hint = "leave --overlay, or --format and --compress, out"
    elif recipe.compressed and recipe.format == "raw":
        problem = "a raw image is not compressed"
        hint = "leave --compress out, or say --format qcow2"
    elif recipe.reproducible and recipe.backend == "guestfs":
        problem = "libguestfs's kernel puts the time into what it writes"
        hint = "leave --backend out"
    elif recipe.reproducible and recipe.new_ssh_host_keys:
        problem = "new SSH host keys are never the same"
        hint = "let the first boot make them: --remove-ssh-host-keys"
    if problem:
        raise UsageError(problem, hint=hint)


def _layers(device: BlockDevice) -> list[Path]:
    if isinstance(device, RawFile):
        return [device.path]
    if not isinstance(device, Qcow2Image):
        return []
    return [device.path, *(_layers(device.backing) if device.backing is not None else [])]


def encryption_of(base: Path, base_format: ImageFormat) -> bytes:
    """The encryption header of the topmost encrypted layer; b"" if the base is not encrypted.

    It is copied to outputs with its key slots: the passphrases of the base open them, too.
    """
    with closing(open_device(base, base_format)) as device:
        layer = _encrypted_layer(device)
        if layer is None or layer.header.crypt_method != LUKS:
            return b""
        from growdisk.qcow2.encryption import luks_header

        # This process has it open, locked, already.
        with closing(RawFile.open(layer.path, lock=False)) as file:
            return luks_header(file, layer.header, layer.path)


def refuse_locked(base: Path, base_format: ImageFormat, recipe: Recipe) -> None:
    """Refuse, before anything is made, a locked base, and outputs that would not be encrypted."""
    with closing(open_device(base, base_format)) as device:
        layer = _encrypted_layer(device)
    if layer is None:
        return
    reason = ""
    if layer.header.crypt_method != LUKS:
        reason = (
            "the base is encrypted in the legacy AES form, which growdisk reads and never writes"
        )
    elif recipe.format == "raw":
        reason = "the base is encrypted, and a raw image would not be"
    elif recipe.compressed:
        reason = "the base is encrypted, and an encrypted image has no compressed clusters"
    if reason:
        hint = "make a base of the kind that you want first: growdisk image convert"
        raise not_provisioned(base, reason=reason, hint=hint)
    # A second time, with the keys: now each locked layer must open.
    with closing(open_device(base, base_format, key=recipe.keys)) as device:
        require_keys(device)


def _encrypted_layer(device: object) -> Qcow2Image | None:
    while isinstance(device, Qcow2Image):
        if device.header.crypt_method:
            return device
        device = device.backing
    return None

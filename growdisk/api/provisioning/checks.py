"""What is checked before any output is made: the base, the recipe, the places of outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from growdisk.api.guard import ConflictGuard, in_a_run, refuse_run_at
from growdisk.api.images.opening import format_of, open_guest_content, require_keys
from growdisk.api.provisioning.recipe import Output, Recipe
from growdisk.api.provisioning.result import not_provisioned, output_exists
from growdisk.api.provisioning.seeding import seed_place
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import UsageError
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header_fields import LUKS
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import real
from growdisk.qcow2.probe import ImageFormat, refuse_misleading_name

_END_OF_TIME = 1 << 32  # ext has 32 bits for a time


@dataclass(frozen=True)
class Base:
    """The base, looked at once for all outputs.

    `files` are those that it consists of. `luks` is the encryption header of its topmost encrypted
    layer, which is copied to outputs with its key slots: the passphrases of the base open them,
    too. `is_plain`: its file can be copied as it is, for it is alone and without a past.
    """

    path: Path
    format: ImageFormat
    files: frozenset[Path]
    luks: bytes
    is_plain: bool


def look_at_base(path: Path, recipe: Recipe, outputs: Sequence[Output]) -> Base:
    """ImageInUse while somebody writes to one of its files.

    Refused: one in the middle of a run, a locked one, and outputs that would not be encrypted.
    """
    base_format = format_of(path, recipe.base_format, writing=True)
    with open_guest_content(path, base_format) as device:
        # Half of a change is in its bytes, and would be in those of the outputs.
        if (found := in_a_run(path)) is not None:
            refuse_run_at(found)
        layers = list(_layers(device))
        images = (layer for layer in layers if isinstance(layer, Qcow2Image))
        locked = next((image for image in images if image.header.crypt_method), None)
        to_raw = any(recipe.format_of(output.path) == "raw" for output in outputs)
        luks = _luks_of(path, locked, recipe, to_raw=to_raw) if locked else b""
        files = frozenset(real(place) for layer in layers for place in _files(layer))
        base = Base(path, base_format, files, luks, _is_plain(device))
    if locked is not None:
        # A second time, with the keys: now each locked layer must open.
        with open_guest_content(path, base_format, key=recipe.keys) as device:
            require_keys(device)
    return base


def _layers(device: BlockDevice | None) -> Iterator[RawFile | Qcow2Image]:
    while isinstance(device, Qcow2Image):
        yield device
        device = device.backing
    if isinstance(device, RawFile):
        yield device


def _files(layer: RawFile | Qcow2Image) -> Iterator[Path]:
    """Of a layer: its own, and its external data file."""
    yield layer.path
    if isinstance(layer, Qcow2Image) and isinstance(layer.host_file, RawFile):
        yield layer.host_file.path


def _luks_of(base: Path, layer: Qcow2Image, recipe: Recipe, *, to_raw: bool) -> bytes:
    reason = ""
    if layer.header.crypt_method != LUKS:
        reason = (
            "the base is encrypted in the legacy AES form, which growdisk reads and never writes"
        )
    elif to_raw:
        reason = "the base is encrypted, and a raw image would not be"
    elif recipe.compressed:
        reason = "the base is encrypted, and an encrypted image has no compressed clusters"
    if reason:
        hint = "make a base of the kind that you want first: growdisk image convert"
        raise not_provisioned(base, reason=reason, hint=hint)
    from growdisk.qcow2.encryption import luks_header

    # This process has it open, locked, already.
    with closing(RawFile.open(layer.path, lock=False)) as file:
        return luks_header(file, layer.header, layer.path)


def _is_plain(device: RawFile | Qcow2Image) -> bool:
    if isinstance(device, RawFile):
        return not device.is_block_device
    header = device.header
    external = header.has(Incompatible.DATA_FILE)
    return not (header.backing_file or header.crypt_method or header.snapshot_count or external)


def refuse_outputs(outputs: Sequence[Output], recipe: Recipe) -> None:
    """UsageError for a list that cannot be meant."""
    if not outputs:
        raise UsageError("no output is named", hint="growdisk provision BASE OUT, or --list FILE")
    seen: set[Path] = set()
    for output in outputs:
        if (form := recipe.format_of(output.path)) is not None:
            refuse_misleading_name(output.path, form)
        # web.qcow2 and web.raw would have one seed.
        for path in (output.path, *([seed_place(output.path)] if recipe.seed else [])):
            # Not real() of all of it: a link that is to be replaced is a name of its own.
            place = real(path.absolute().parent) / path.name
            if place in seen:
                own = "" if path is output.path else ", as the seed of two outputs"
                problem = f"{path} is named twice{own}"
                raise UsageError(problem, "every output needs a name of its own")
            seen.add(place)


def refuse_place(path: Path, base: Base, *, force: bool) -> None:
    """Raise what stands against an image at `path`."""
    parent = path.absolute().parent
    if not parent.is_dir():
        reason = f"there is no folder {parent}"
        raise not_provisioned(path, reason, f"make it first: mkdir -p {parent}")
    if not os.path.lexists(path):
        return
    if real(path) in base.files:
        # Also with --force: the base would be gone while it is read.
        raise not_provisioned(path, "the base consists of it", "choose another name for the output")
    if not path.is_file():
        reason = "it is not a file that could be replaced"
        raise not_provisioned(path, reason, "choose another name")
    if not force:
        raise output_exists(path)
    # Refused while a guest has it open.
    with closing(RawFile.open(path, writable=True)) as file:
        # Its run would have nothing left to go back to, and images on it another disk below them.
        ConflictGuard(path)(file, None)


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
    elif recipe.epoch is not None and not 0 <= recipe.epoch < _END_OF_TIME:
        problem = f"the epoch {recipe.epoch} is not a time that ext can have"
        hint = "give an epoch (SOURCE_DATE_EPOCH) in seconds since 1970, before 2106"
    if problem:
        raise UsageError(problem, hint=hint)

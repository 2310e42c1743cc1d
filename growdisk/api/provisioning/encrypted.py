"""Encrypted bases (LUKS inside the image): their outputs are encrypted with the same key.

The encryption header is copied with its key slots. So the passphrases of the base open the output,
too.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from growdisk.api.images.opening import open_device, require_keys
from growdisk.api.provisioning.recipe import Recipe
from growdisk.api.provisioning.result import not_provisioned
from growdisk.block.raw import RawFile
from growdisk.qcow2.header_fields import LUKS
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat


def encryption_of(base: Path, base_format: ImageFormat) -> bytes:
    """The encryption header of the topmost encrypted layer; b"" if the base is not encrypted."""
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

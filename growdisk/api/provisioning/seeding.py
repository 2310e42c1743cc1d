"""What stands in an output's cloud-init seed, and where it lies."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from growdisk.api.provisioning.recipe import Seed
from growdisk.api.provisioning.templates import Values, file_content, render_file

_OTHERS_TEMPLATE = b"## template:"  # cloud-init's own, filled in by the guest


def seed_place(out: Path) -> Path:
    return out.with_name(f"{out.stem}-seed.iso")


def seed_files(seed: Seed, values: Values, *, reproducible: bool) -> dict[str, bytes]:
    """The texts of the seed.

    Its instance-id is new each time, so that cloud-init takes the guest for a new one.
    """
    # As YAML, whatever characters it has.
    hostname = json.dumps(values["hostname"])
    made = f"#cloud-config\nhostname: {hostname}\n".encode()
    files = {"user-data": _text(seed.user_data, values) if seed.user_data else made}
    if seed.network_config:
        files["network-config"] = _text(seed.network_config, values)
    files["meta-data"] = _text(seed.meta_data, values) if seed.meta_data else b""
    if not files["meta-data"]:
        # Reproducible: another text is another instance, the same texts are the same one.
        seeded = json.dumps({**values}, sort_keys=True).encode() + b"".join(files.values())
        number = hashlib.sha256(seeded).hexdigest()[:16] if reproducible else secrets.token_hex(8)
        text = f"instance-id: iid-{number}\nlocal-hostname: {hostname}\n"
        files["meta-data"] = text.encode()
    return files


def _text(path: Path, values: Values) -> bytes:
    content = file_content(path)
    if content.startswith(_OTHERS_TEMPLATE):
        # Its {{ }} are for cloud-init in the guest.
        return content
    return render_file(content, values, f"the template {path}", "save it as text in UTF-8")


# A NoCloud seed as an ISO 9660 image (a disk labelled cidata): the sole `import pycdlib`.
#
# pycdlib puts the host's clock and time zone into each record; here all say the time that is asked
# for, so that the same texts give the same bytes.

LABEL = "cidata"
_SECTOR, _FIRST_DESCRIPTOR = 2048, 16
_DESCRIPTORS_WITH_ROOT, _LAST = (1, 2), 255  # primary, Joliet
_ROOT_RECORD, _DATES = 156, 813  # in a descriptor; creation, modification, expiry, effective


def seed_iso(files: Mapping[str, bytes], seconds: int) -> bytes:
    """The image; names as cloud-init reads them (Joliet), `seconds` since 1970."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, vol_ident=LABEL)
    for number, (name, content) in enumerate(sorted(files.items())):
        # ISO 9660 has no names like user-data: they are Joliet's, and the other ones do not matter.
        iso.add_fp(io.BytesIO(content), len(content), f"/SEED{number}.;1", joliet_path=f"/{name}")
    written = io.BytesIO()
    iso.write_fp(written)
    iso.close()
    image = bytearray(written.getvalue())
    _set_times(image, time.gmtime(seconds))
    return bytes(image)


def _set_times(image: bytearray, moment: time.struct_time) -> None:
    """Spec: ECMA-119, 8.4.26 (descriptors: digits), 9.1.5 (records: seven bytes, UTC)."""
    # 17 bytes: digits to the hundredth of a second, and the offset from UTC.
    digits = time.strftime("%Y%m%d%H%M%S00", moment).encode() + b"\0"
    record = bytes([moment.tm_year - 1900, *moment[1:6], 0])
    for at in _descriptors(image):
        # Creation, modification, effective. Expiry, the third, stays unset.
        for start in (at + _DATES, at + _DATES + len(digits), at + _DATES + 3 * len(digits)):
            image[start : start + len(digits)] = digits
        root = at + _ROOT_RECORD
        # The root's own record, in the descriptor; those of its files are in its extent.
        image[root + 18 : root + 25] = record
        for entry in _records(image, root):
            image[entry + 18 : entry + 25] = record


def _descriptors(image: bytearray) -> Iterator[int]:
    at = _FIRST_DESCRIPTOR * _SECTOR
    while image[at] != _LAST:
        if image[at] in _DESCRIPTORS_WITH_ROOT:
            yield at
        at += _SECTOR


def _records(image: bytearray, root: int) -> Iterator[int]:
    """Where the records of a directory begin; the folder has no others below it."""
    # A record has each number twice: little-endian first. Here its extent, then the bytes of it.
    at = int.from_bytes(image[root + 2 : root + 6], "little") * _SECTOR
    end = at + int.from_bytes(image[root + 10 : root + 14], "little")
    while at < end:
        if not image[at]:  # the rest of a sector is empty
            at += _SECTOR - at % _SECTOR
            continue
        yield at
        at += image[at]

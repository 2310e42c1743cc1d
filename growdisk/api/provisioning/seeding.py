"""What stands in an output's cloud-init seed, and where it lies."""

from __future__ import annotations

import hashlib
import json
import secrets
from pathlib import Path

from growdisk.api.provisioning.filling_in import Values, content_of, filled_in
from growdisk.api.provisioning.recipe import Seed
from growdisk.host import clock

_OTHERS_TEMPLATE = b"## template:"  # cloud-init's own, filled in by the guest


def seed_place(out: Path) -> Path:
    return out.with_name(f"{out.stem}-seed.iso")


def seed_files(seed: Seed, values: Values, *, reproducible: bool) -> dict[str, bytes]:
    """The texts of the seed. Its instance-id is new each time, so that cloud-init takes the guest for a new one."""
    user = _text(seed.user_data, values) if seed.user_data else _user_data(values)
    files = {"user-data": user}
    if seed.network_config:
        files["network-config"] = _text(seed.network_config, values)
    files["meta-data"] = _text(seed.meta_data, values) if seed.meta_data else b""
    if not files["meta-data"]:
        told = json.dumps({**values}, sort_keys=True).encode() + b"".join(files.values())
        number = hashlib.sha256(told).hexdigest()[:16] if reproducible else secrets.token_hex(8)
        files["meta-data"] = f"instance-id: iid-{number}\nlocal-hostname: {_quoted(values['hostname'])}\n".encode()
    return files


def seed_image(seed: Seed, values: Values, *, reproducible: bool) -> bytes:
    from growdisk.api.provisioning.iso import seed_iso

    return seed_iso(seed_files(seed, values, reproducible=reproducible), clock.now())


def _user_data(values: Values) -> bytes:
    return f"#cloud-config\nhostname: {_quoted(values['hostname'])}\n".encode()


def _text(path: Path, values: Values) -> bytes:
    content = content_of(path)
    if content.startswith(_OTHERS_TEMPLATE):
        return content
    return filled_in(content.decode(), values, f"the template {path}").encode()


def _quoted(text: str) -> str:
    """As YAML, whatever it is."""
    return json.dumps(text)

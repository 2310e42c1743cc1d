"""The JSON area of a LUKS2 header, as far as growdisk reads it (LUKS2 On-Disk Format 1.1.0).

Sizes are strings.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from growdisk.fast_dataclass import dataclass, field


@dataclass(frozen=True)
class Area:
    """Of a key slot for a passphrase; what a re-encryption keeps in one has no cipher."""

    offset: str
    encryption: str = ""
    key_size: int = 0


@dataclass(frozen=True)
class Kdf:
    """PBKDF2 has a hash and iterations, argon2 time, memory (KiB) and cpus."""

    type: str
    salt: str
    hash: str = ""
    iterations: int = 0
    time: int = 0
    memory: int = 0
    cpus: int = 0


@dataclass(frozen=True)
class Keyslot:
    """Only `type` luks2 has a `kdf` and `af`, the stripes."""

    type: str
    key_size: int
    area: Area
    kdf: Kdf = Kdf("", "")
    af: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class Digest:
    keyslots: tuple[str, ...]
    segments: tuple[str, ...]
    hash: str
    iterations: int
    salt: str
    digest: str


@dataclass(frozen=True)
class Luks2Segment:
    """`size` is a number, or "dynamic": to the end of the device."""

    type: str
    offset: str
    size: str
    encryption: str = ""
    sector_size: int = 512
    iv_tweak: str = "0"
    integrity: object = None


@dataclass(frozen=True)
class Requirements:
    mandatory: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    requirements: Requirements | None = None


@dataclass(frozen=True)
class Luks2Metadata:
    keyslots: dict[str, Keyslot]
    segments: dict[str, Luks2Segment]
    digests: dict[str, Digest]
    config: Config = field(default_factory=Config)
    tokens: dict[str, object] = field(default_factory=dict)


# Registers of a TPM, by what they measure. Files that a start reads: unified kernels (4, 11), what
# GRUB does and reads (8, 9), the command line and initrds for a kernel (9, 12).
PARTITION_TABLE, BOOT_FILES = frozenset({5}), frozenset({4, 8, 9, 11, 12})


def measured(tokens: Iterable[object]) -> frozenset[int]:
    """The registers that one of the tokens goes by. Other tokens say nothing about that."""
    return frozenset(
        number for token in tokens if isinstance(token, dict) for number in _registers(token)
    )


def _registers(token: dict[str, object]) -> list[int]:
    if token.get("type") == "systemd-tpm2":
        # The second ones are those that a signature speaks for.
        lists = (token.get("tpm2-pcrs"), token.get("tpm2_pubkey_pcrs"))
        return [n for one in lists if isinstance(one, list) for n in one if isinstance(n, int)]
    if token.get("type") == "clevis":
        try:
            jwe = token["jwe"]
            # A JWE's protected header is base64 without its padding; too much of it does no harm.
            header = json.loads(base64.urlsafe_b64decode(jwe["protected"] + "=="))  # type: ignore[index]
            return [int(number) for number in header["clevis"]["tpm2"]["pcr_ids"].split(",")]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return []
    return []

"""Tokens of a LUKS2 header by which a TPM opens it, as systemd-cryptenroll and clevis write them.

A TPM gives its key away only while its registers (PCR) are as they were. One of them measures the
partition table. Specs: TCG PC Client Platform Firmware Profile (PCR 5); systemd-cryptenroll(1);
clevis-encrypt-tpm2(1).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

PARTITION_TABLE = 5


def measured(tokens: Iterable[object]) -> frozenset[int]:
    """The registers that one of the tokens goes by. Other tokens say nothing about that."""
    return frozenset(
        number for token in tokens if isinstance(token, dict) for number in _registers(token)
    )


def _registers(token: dict[str, object]) -> list[int]:
    if token.get("type") == "systemd-tpm2":
        numbers = token.get("tpm2-pcrs")
        return [n for n in numbers if isinstance(n, int)] if isinstance(numbers, list) else []
    if token.get("type") == "clevis":
        try:
            jwe = token["jwe"]
            # A JWE's protected header is base64 without its padding; too much of it does no harm.
            header = json.loads(base64.urlsafe_b64decode(jwe["protected"] + "=="))  # type: ignore[index]
            return [int(number) for number in header["clevis"]["tpm2"]["pcr_ids"].split(",")]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return []
    return []

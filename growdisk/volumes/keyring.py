"""Passphrases and what they open.

Never written anywhere: not into journal, plan or log, not on a command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from growdisk.block.device import BlockDevice

if TYPE_CHECKING:
    from growdisk.volumes.luks import DecryptedView, LuksHeader


class Keyring:
    """Opens containers with any passphrase that fits, and remembers volume keys.

    Deriving one takes a second.
    """

    def __init__(self, passphrases: tuple[bytes, ...] = ()) -> None:
        #: All that were given: an encrypted image takes one of them as well.
        self.passphrases = passphrases
        self._volume_keys: dict[str, bytes | None] = {}

    def __repr__(self) -> str:
        return f"Keyring of {len(self.passphrases)}"

    @property
    def is_empty(self) -> bool:
        return not self.passphrases

    def open(self, device: BlockDevice, header: LuksHeader) -> DecryptedView | None:
        """The decrypted content; None if no passphrase opens it."""
        key = self.volume_key(device, header)
        if key is None:
            return None
        from growdisk.volumes.luks import DecryptedView

        return DecryptedView(device, header, key)

    def volume_key(self, device: BlockDevice, header: LuksHeader) -> bytes | None:
        # None is remembered too: failing takes as long as succeeding, for each slot and passphrase.
        if header.uuid not in self._volume_keys:
            found = (header.volume_key(device, candidate) for candidate in self._candidates())
            self._volume_keys[header.uuid] = next((key for key in found if key is not None), None)
        return self._volume_keys[header.uuid]

    def _candidates(self) -> Iterator[bytes]:
        """As given; and as typed, if an editor has put a line break after it."""
        for passphrase in self.passphrases:
            yield passphrase
            if passphrase.endswith(b"\n"):
                yield passphrase.rstrip(b"\r\n")

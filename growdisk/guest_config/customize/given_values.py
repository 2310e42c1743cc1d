"""What a user gives for a guest, checked and made ready: passwords, their hashes, a hostname.

Passwords are hashed by the host's libcrypt (yescrypt, as in Debian): no other process has them. The
salt is random; for reproducible bytes it is derived from something that is not secret. Never
from the password: a quick hash of it would stand in the file beside the slow one.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import secrets

from growdisk.errors import ToolFailed, UsageError, bad_value

_LIBRARY = "libcrypt.so.1"
_METHODS = (b"$y$", b"$6$")  # yescrypt, sha512-crypt
_SALT_BYTES = 16
# crypt(3) of libxcrypt: CRYPT_GENSALT_OUTPUT_SIZE, and the size of struct crypt_data.
_SETTING_SIZE, _STATE_SIZE = 192, 32768
_READY = r"[!*]|!?\$(?:y|gy|7|2[abxy]|5|6)\$[./A-Za-z0-9$=,]{20,400}"


def hash_password(clear: bytes, salt_from: str | None = None) -> tuple[str, str]:
    """The hashes for /etc/shadow: by the host's best method, and by one that every guest knows.

    `salt_from` makes the salt reproducible.
    """
    if not clear or b"\0" in clear or b"\n" in clear:
        raise UsageError(
            "a password cannot be empty, nor have more than one line",
            hint="check the file it is in",
        )
    if salt_from is None:
        salt = secrets.token_bytes(_SALT_BYTES)
    else:
        salt = hashlib.sha256(salt_from.encode()).digest()
    try:
        library = ctypes.CDLL(_LIBRARY)
        hashes = [_hashed(library, method, clear, salt[:_SALT_BYTES]) for method in _METHODS]
        return next(filter(None, hashes)), hashes[-1]
    except (OSError, AttributeError, StopIteration) as error:
        raise ToolFailed(
            _LIBRARY, 1, "it hashes neither by yescrypt nor by sha512-crypt", "give a hash"
        ) from error


def check_hash(text: str) -> str:
    """A hash that somebody else has made.

    UsageError if it cannot be one: a clear text must not get into a guest.
    """
    if not re.fullmatch(_READY, text):
        raise UsageError(
            "that is not the hash of a password",
            hint="mkpasswd (or openssl passwd -6) makes one; ! or * locks",
        )
    return text


def _hashed(library: ctypes.CDLL, method: bytes, clear: bytes, salt: bytes) -> str:
    """ "" if libcrypt does not know the method."""
    # By full prototypes: ctypes would pass an unsigned long as an int.
    text, number = ctypes.c_char_p, ctypes.c_int
    library.crypt_gensalt_rn.restype = library.crypt_rn.restype = text
    library.crypt_gensalt_rn.argtypes = [text, ctypes.c_ulong, text, number, text, number]
    library.crypt_rn.argtypes = [text, text, ctypes.c_void_p, number]
    setting = ctypes.create_string_buffer(_SETTING_SIZE)
    state = ctypes.create_string_buffer(_STATE_SIZE)
    chosen = library.crypt_gensalt_rn(method, 0, salt, len(salt), setting, _SETTING_SIZE)
    hashed = library.crypt_rn(clear, chosen, state, _STATE_SIZE) if chosen else None
    return hashed.decode("ascii") if hashed and hashed.startswith(method) else ""


# --- hostnames ----------------------------------------------------------------------------------

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LONGEST = 64  # what Linux takes


def check_hostname(name: str) -> None:
    """UsageError for what Linux, or the DNS, would not take."""
    if len(name) > _LONGEST or not all(re.fullmatch(_LABEL, label) for label in name.split(".")):
        raise bad_value(
            f"'{name}' cannot be a hostname",
            "--hostname",
            name,
            hint="letters, digits and - within each label, 64 characters at most",
        )

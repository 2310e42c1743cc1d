"""A command as a user who is not root."""

from __future__ import annotations

_NOBODY = 65534


_DROP = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")

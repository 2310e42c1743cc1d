"""The command line: parses, dispatches, and turns every expected error into what, why, what to do and an exit code.

`growdisk --version` answers before anything is imported; each verb imports what it needs when it is called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from growdisk import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["-V"], ["--version"]):
        sys.stdout.write(f"growdisk {__version__}\n")
        return 0
    from growdisk.cli.dispatch import dispatch

    return dispatch(words)


if __name__ == "__main__":
    sys.exit(main())

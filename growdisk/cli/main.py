"""The command line: parses, dispatches, and reports errors: what, why, what to do, exit code.

`growdisk --version` answers before anything is imported; each verb imports what it needs when it is
called.
"""

from __future__ import annotations

import sys

from growdisk import __version__

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """What the console script runs (start.py). Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["-V"], ["--version"]):
        if sys.stdout is not None:  # closed by the caller (>&-)
            sys.stdout.write(f"growdisk {__version__}\n")
        return 0
    # First of all: dispatch, and most of what it imports, loads pathlib and argparse.
    from growdisk.fast_imports import load_standard_modules

    load_standard_modules()
    from growdisk.cli.dispatch import dispatch

    return dispatch(words)


if __name__ == "__main__":
    sys.exit(main())

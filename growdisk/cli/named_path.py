"""A file or folder that the command line names."""

from __future__ import annotations

import argparse
from pathlib import Path


def named_path(text: str) -> Path:
    """The path; an empty word is an error, as from a script's unset variable.

    To Path it would be the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder is empty")
    return Path(text)

"""A file or folder that the command line names."""

from __future__ import annotations

import argparse
from pathlib import Path


def named_path(text: str) -> Path:
    """An empty word is nobody's, as of a script's variable that was never set; to Path it would be
    the current folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder is empty")
    return Path(text)

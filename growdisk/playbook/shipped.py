"""The playbooks, recipe examples and the Ansible collection that come with growdisk.

An installed growdisk has them in its own package (`growdisk/shipped`), a checkout at its top
(`playbooks/`): the wheel is built with that name for that folder (pyproject.toml).
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from growdisk.durable import alone_in

_PACKAGE = Path(__file__).parent.parent
_COLLECTION = Path("ansible_collections/growdisk/disk")
_SCRATCH = ".growdisk-"


def shipped_folder() -> Path:
    """The folder with the playbooks; it need not exist if growdisk was installed without them."""
    installed = _PACKAGE / "shipped"
    return installed if installed.is_dir() else _PACKAGE.parent / "playbooks"


def shipped_playbooks() -> list[str]:
    """Names without `.yml`, sorted."""
    return sorted(path.stem for path in shipped_folder().glob("*.yml") if "." not in path.stem)


def install_collection(folder: Path) -> Path:
    """Install the collection growdisk.disk below `folder`, one of ANSIBLE_COLLECTIONS_PATH.

    An older one is replaced as a whole. Returns the collection's own folder. Raises OSError;
    FileNotFoundError if growdisk was installed without it.
    """
    source, target = shipped_folder() / "collection", folder / _COLLECTION
    if not (source / "galaxy.yml").is_file():
        raise FileNotFoundError(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # What lies there while nobody else installs is of a killed process.
        if stack.enter_context(alone_in(target.parent)):
            for left in target.parent.glob(f"{_SCRATCH}*"):
                shutil.rmtree(left, ignore_errors=True)
        work = tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=target.parent)
        scratch = Path(stack.enter_context(work))
        new, old = scratch / "new", scratch / "old"
        shutil.copytree(source, new, ignore=shutil.ignore_patterns("__pycache__"))
        # Between two renames there is none; the old one is in the scratch folder, and goes.
        if target.exists():
            target.rename(old)
        new.rename(target)
    return target

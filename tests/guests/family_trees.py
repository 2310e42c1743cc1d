"""The systems of the families' guests (family_systems.py) as tars, each made once."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import _own_files
from tests.guests.content import write_tar
from tests.guests.family_systems import SWAP_UUID, SYSTEMS, System
from tests.guests.tools import run

_ENABLE = (
    "if [ -d /lib/systemd/system ] && command -v systemctl >/dev/null; then systemctl "
    "--quiet enable {}; fi\n"
).format("boot-report.service serial-getty@ttyS0.service")
_CLEAN = (
    "rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists /var/cache/apt\n"
)


@dataclass(frozen=True)
class Tree:
    """A system as a tar."""

    tar: Path

    def member(self, name: str) -> bytes:
        with tarfile.open(self.tar) as tar:
            file = tar.extractfile(name)
            assert file is not None, name
            return file.read()

    def begins(self, start: str) -> bytes:
        """The one file whose name begins so."""
        with tarfile.open(self.tar) as tar:
            return self.member(next(name for name in tar.getnames() if name.startswith(start)))


def tree_of(name: str) -> Tree:
    """Built when needed (2 minutes)."""
    sources = [
        Path(__file__),
        *(Path(__file__).with_name(f"{source}.py") for source in ("classic", "content")),
    ]
    inside = Path(__file__).parent / "inside"
    system = SYSTEMS[name]
    recipe = recipe_hash([*sources, *inside.iterdir()], repr(system))[:20]
    return Tree(
        cached(f"tree-{name}-{recipe}", lambda folder: _debootstrap(folder, system)) / "tree.tar"
    )


def _debootstrap(folder: Path, system: System) -> None:
    conf = "$1/etc/initramfs-tools/conf.d"
    resume = f'--essential-hook=mkdir -p "{conf}" && echo RESUME=UUID={SWAP_UUID} >"{conf}/resume"'
    with tempfile.TemporaryDirectory(prefix="growdisk-tree-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        own = write_tar(work / "own.tar", _own_files("no key\n"))
        (work / "script.sh").write_text(_ENABLE + system.script + _CLEAN)
        run(
            "mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io",
            f"--include={system.packages.replace(' ', ',')}",
            *([resume] if "initramfs-tools" in system.packages else []),
            f"--customize-hook=tar-in {own} /",
            f"--customize-hook=copy-in {work / 'script.sh'} /tmp",
            '--customize-hook=chroot "$1" sh /tmp/script.sh', *system.options, system.suite,
            folder / "tree.tar",
        )  # fmt: skip

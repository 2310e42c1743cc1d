"""A clean Debian to install growdisk's package in: a system in a folder, by bubblewrap.

bubblewrap makes it the root of a mount namespace (pivot_root): in a mere chroot the kernel lets
nobody make namespaces, and growdisk's sandbox needs them.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.guests.tools import run

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
_CONTROL = ROOT / "debian/control"
_ALSO = ("python3", "man-db", "bash-completion")


def dependencies() -> list[str]:
    """What the package depends on, as debian/control says."""
    depends = re.search(r"^Depends:\n((?: .*\n)+)", _CONTROL.read_text(), re.MULTILINE)
    assert depends is not None
    return [
        word
        for word in re.findall(r"^ (\S+),$", depends[1], re.MULTILINE)
        if not word.startswith("$")
    ]


def clean_debian(folder: Path) -> CleanDebian:
    """A new copy in `folder` of a system with nothing but the package's dependencies."""
    packages = ",".join(sorted({*dependencies(), *_ALSO}))
    base = cached(
        f"clean-debian-{recipe_hash([], f'{SUITE} {packages}')[:16]}",
        lambda made: _build(made, packages),
    )
    run("tar", "-C", folder, "-xf", base / "tree.tar")
    return CleanDebian(folder)


def _build(folder: Path, packages: str) -> None:
    tree = folder / "tree.tar"
    run(
        "mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io",
        f"--include={packages}", "--dpkgopt=path-exclude=/usr/share/locale/*", SUITE, tree,
    )  # fmt: skip


@dataclass(frozen=True)
class CleanDebian:
    folder: Path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """A command in there, as root; its /tmp is the system's own."""
        walls = [
            "bwrap", "--bind", self.folder, "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc",
            "--tmpfs", "/run",
        ]  # fmt: skip
        inside = ["--cap-add", "ALL", "--unshare-net", "--chdir", "/tmp", "--die-with-parent"]
        return subprocess.run(
            [*walls, *inside, "--", *words],
            capture_output=True,
            text=True,
            env={"PATH": "/usr/sbin:/usr/bin"},
        )

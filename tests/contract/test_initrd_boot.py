"""A kernel really boots an initrd with a stale RESUME, before and after its repair.

The archive is this machine's own initrd, whose /init is Debian's, without the kernel's modules; a
script in it reports what RESUME came out as.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from growdisk.guest_config.initrd import forgetting_block
from growdisk.guest_config.removed_partition import RemovedPartition
from tests.e2e.boot import EMULATED_CPU, QUICK_KERNEL

pytestmark = pytest.mark.boot

UUID = "3f9a2c1e-5b7d-4c88-9a10-0c2d4e6f8a1b"
COMPRESSORS = {
    "gzip": ["gzip", "-1"],
    "zstd": ["zstd", "-q"],
    "xz": ["xz", "-0", "-Ccrc32"],
    "lz4": ["lz4", "-lq"],
}
REPORT = (
    '#!/bin/sh\n[ "$1" = prereqs ] && exit 0\necho "resume is [${resume}]"\necho o > '
    "/proc/sysrq-trigger\nsleep 9\n"
)


def newest(pattern: str) -> Path:
    found = [path for path in Path("/boot").glob(pattern) if os.access(path, os.R_OK)]
    if not found or shutil.which("unmkinitramfs") is None:
        pytest.skip("needs a readable kernel and initrd of initramfs-tools in /boot")
    return max(found)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The initrd with a stale RESUME and the reporting script, packed again, uncompressed."""
    tree = tmp_path_factory.mktemp("initrd") / "tree"
    subprocess.run(["unmkinitramfs", newest("initrd.img-*"), tree], check=True)
    tree = tree / "main" if (tree / "main").exists() else tree
    # most of it, and no script waits for one of them
    shutil.rmtree(tree / "lib/modules", ignore_errors=True)
    (tree / "conf/conf.d").mkdir(parents=True, exist_ok=True)
    (tree / "conf/conf.d/zz-resume-auto").write_text(f"RESUME=UUID={UUID}\n")
    scripts = tree / "scripts/init-premount"
    scripts.mkdir(exist_ok=True)
    (scripts / "report").write_text(REPORT)
    (scripts / "report").chmod(0o755)
    (scripts / "ORDER").write_text('/scripts/init-premount/report "$@"\n')
    pack = "find . | cpio --quiet -o -H newc"
    return subprocess.run(["sh", "-c", pack], cwd=tree, check=True, stdout=subprocess.PIPE).stdout


def resume_at_boot(initrd: Path) -> str:
    console = subprocess.run(
        [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", EMULATED_CPU, "-m", "1024", "-nographic",
            "-no-reboot", "-kernel", newest("vmlinuz-*"), "-initrd", initrd,
            "-append", f"console=ttyS0 root=/dev/vda1 quiet {QUICK_KERNEL}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=300,
    ).stdout.decode(errors="replace")  # fmt: skip
    assert "resume is [" in console, console
    return console.partition("resume is [")[2].partition("]")[0]


def test_a_stale_resume_is_seen_where_nothing_has_been_done(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(archive)
    assert resume_at_boot(tmp_path / "initrd") == f"UUID={UUID}"


@pytest.mark.parametrize(
    "compressor",
    ["gzip", "zstd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("xz", "lz4"))],
)
def test_a_stale_resume_is_forgotten_whatever_compresses_it(
    compressor: str, archive: bytes, tmp_path: Path
) -> None:
    if shutil.which(compressor) is None:
        pytest.skip(f"{compressor} is not installed")
    main = subprocess.run(
        COMPRESSORS[compressor], input=archive, stdout=subprocess.PIPE, check=True
    ).stdout
    (tmp_path / "initrd").write_bytes(
        forgetting_block(RemovedPartition(number=5, uuid=UUID)) + main
    )
    assert resume_at_boot(tmp_path / "initrd") == ""

"""The block put before an initrd, read by cpio, lsinitramfs, unmkinitramfs and a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from growdisk.guest_config.initrd import (
    BLOCK,
    HEAD,
    forgets,
    forgetting_block,
    is_initrd,
)
from growdisk.guest_config.initrd_content import leading_names
from growdisk.guest_config.removed_partition import RemovedPartition

UUID = "3f9a2c1e-5b7d-4c88-9a10-0c2d4e6f8a1b"
SWAP = RemovedPartition(number=5, uuid=UUID, label="it's my swap", stems=("by-path/pci-0",))
COMPRESSORS = {
    "gzip": ["gzip", "-n"], "zstd": ["zstd", "-q"], "xz": ["xz", "--check=crc32"],
    "lz4": ["lz4", "-l", "-q"],
}  # fmt: skip

needs_initramfs_tools = pytest.mark.skipif(
    shutil.which("lsinitramfs") is None, reason="needs initramfs-tools-core"
)


def small_initrd(directory: Path, compressor: str) -> bytes:
    """A main archive as update-initramfs makes it, with a stale resume device in it."""
    if shutil.which(COMPRESSORS[compressor][0]) is None:
        pytest.skip(f"{compressor} is not installed")
    tree = directory / "tree"
    (tree / "conf/conf.d").mkdir(parents=True)
    (tree / "conf/conf.d/resume").write_text(f"RESUME=UUID={UUID}\n")
    (tree / "conf/conf.d/zz-resume-auto").write_text(f"RESUME=UUID={UUID}\n")
    (tree / "init").write_text("#!/bin/sh\n")
    names = "conf\nconf/conf.d\nconf/conf.d/resume\nconf/conf.d/zz-resume-auto\ninit\n"
    archive = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input=names.encode(),
        cwd=tree,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return subprocess.run(
        COMPRESSORS[compressor], input=archive, stdout=subprocess.PIPE, check=True
    ).stdout


def unpack_as_the_kernel_does(initrd: Path, directory: Path) -> Path:
    """All archives one over the other, in order."""
    subprocess.run(["unmkinitramfs", initrd, directory / "parts"], check=True, timeout=60)
    root = directory / "root"
    for part in ("early", "early2", "early3", "main"):
        if (directory / "parts" / part).exists():
            shutil.copytree(directory / "parts" / part, root, dirs_exist_ok=True)
    return root


def resume_of(root: Path) -> str:
    """What RESUME is after initramfs-tools' /init has read its configuration."""
    loop = (
        'for conf in conf/conf.d/*; do [ -f "$conf" ] && . "$PWD/$conf"; done; printf %s "$RESUME"'
    )
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    return subprocess.run(
        ["sh", "-euc", loop], cwd=root, env=env, text=True, stdout=subprocess.PIPE, check=True
    ).stdout


def test_it_is_exactly_one_file_system_block_and_cpio_lists_it() -> None:
    block = forgetting_block(SWAP)
    assert len(block) == BLOCK
    listed = subprocess.run(
        ["cpio", "-t", "--quiet"], input=block, stdout=subprocess.PIPE, check=True
    ).stdout
    assert listed.decode().split() == list(leading_names(block))[:3]


def test_its_padding_lies_inside_the_file_not_behind_the_archive() -> None:
    assert not forgetting_block(SWAP).endswith(bytes(12))


@needs_initramfs_tools
@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_an_initrd_forgets_the_swap_whatever_compresses_it(compressor: str, tmp_path: Path) -> None:
    main = small_initrd(tmp_path, compressor)
    initrd = tmp_path / "initrd.img"
    initrd.write_bytes(forgetting_block(SWAP) + main)
    listed = subprocess.run(
        ["lsinitramfs", initrd], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout
    assert "conf/conf.d/zz-resume-auto" in listed and "conf/conf.d/zzz-growdisk-resume" in listed
    assert resume_of(unpack_as_the_kernel_does(initrd, tmp_path)) == ""


@needs_initramfs_tools
def test_another_resume_device_is_left_as_it_is(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd.img"
    other = RemovedPartition(number=7, uuid="7" * 8, label="x")
    initrd.write_bytes(forgetting_block(other) + small_initrd(tmp_path, "gzip"))
    assert resume_of(unpack_as_the_kernel_does(initrd, tmp_path)) == f"UUID={UUID}"


@needs_initramfs_tools
def test_two_swaps_are_forgotten_one_after_the_other(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd.img"
    other = RemovedPartition(number=7)
    initrd.write_bytes(
        forgetting_block(other) + forgetting_block(SWAP) + small_initrd(tmp_path, "xz")
    )
    head = initrd.read_bytes()[:HEAD]
    assert forgets(head, SWAP) and forgets(head, other)
    assert resume_of(unpack_as_the_kernel_does(initrd, tmp_path)) == ""


@pytest.mark.parametrize(
    ("value", "after"),
    [
        (f"UUID={UUID.upper()}", ""), ("LABEL=it's my swap", ""), ("/dev/vda5", ""),
        ("/dev/disk/by-path/pci-0-part5", ""),
        ("/dev/disk/by-path/pci-0-part15", "/dev/disk/by-path/pci-0-part15"),
        ("/dev/disk/by-path/pci-1-part5", "/dev/disk/by-path/pci-1-part5"),
        ("/dev/sdb5", "/dev/sdb5"), ("", ""), ("none", "none"),
    ],
)  # fmt: skip
def test_the_shell_agrees_on_which_names_are_the_swap(
    value: str, after: str, tmp_path: Path
) -> None:
    subprocess.run(
        ["cpio", "-i", "--quiet", "--no-absolute-filenames"],
        input=forgetting_block(SWAP),
        cwd=tmp_path,
        check=True,
    )
    (tmp_path / "conf/conf.d/resume").write_text('RESUME="$GIVEN"\n')
    script = 'for conf in conf/conf.d/*; do . "$PWD/$conf"; done; printf %s "$RESUME"'
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "GIVEN": value}
    assert (
        subprocess.run(
            ["sh", "-euc", script], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
        ).stdout
        == after
    )


def test_only_an_initrd_with_the_block_is_known_to_forget() -> None:
    plain = b"\x28\xb5\x2f\xfd" + bytes(100)
    assert is_initrd(plain) and not forgets(plain, SWAP)
    assert forgets((forgetting_block(SWAP) + plain)[:HEAD], SWAP)
    assert not is_initrd(b"PE\0\0") and not is_initrd(b"")


def test_a_label_too_long_for_the_block_is_an_error_not_a_broken_archive() -> None:
    with pytest.raises(ValueError, match="too long"):
        forgetting_block(RemovedPartition(number=5, label="x" * 4000))

"""What growdisk finds out about the machine, and how ext file systems may grow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from growdisk.backends.doctor import kernel_finding, run_checks, tool_finding
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext_growth import size_in_place
from growdisk.host import kvm as kvm
from growdisk.host.command import run
from growdisk.host.kvm import Accelerator, KvmState, accelerator, try_kvm

GiB = 1 << 30


def fake_qemu(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A qemu that does what `script` says."""
    directory.mkdir(exist_ok=True)
    (directory / "qemu-system-x86_64").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "qemu-system-x86_64").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


@pytest.mark.boot
def test_the_trial_guest_runs_to_its_end_under_emulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With emulation for KVM the trial must succeed: so its failure means KVM."""
    monkeypatch.setattr(kvm, "_TRIAL_SECONDS", 60.0)  # the machine may be busy
    real = run(["sh", "-c", "command -v qemu-system-x86_64"]).stdout.strip()
    swap_words = 'for w; do shift; [ "$w" = kvm ] && w=tcg; set -- "$@" "$w"; done'
    fake_qemu(tmp_path / "bin", monkeypatch, f'{swap_words}; exec {real} "$@"')
    assert try_kvm() == Accelerator(KvmState.WORKS)


def test_kvm_that_makes_qemu_abort_is_broken_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_qemu(
        tmp_path / "bin",
        monkeypatch,
        "echo 'qemu-system-x86_64: error: failed to set MSR 0x10a' >&2; kill -6 $$",
    )
    assert try_kvm() == Accelerator(KvmState.BROKEN, "failed to set MSR 0x10a")


def test_kvm_in_which_firmware_hangs_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "_TRIAL_SECONDS", 1.0)
    fake_qemu(tmp_path / "bin", monkeypatch, "exec sleep 60")
    assert try_kvm().kvm is KvmState.BROKEN


def test_kvm_that_runs_a_boot_sector_but_no_kernel_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "_TRIAL_SECONDS", 1.0)
    fake_qemu(
        tmp_path / "bin", monkeypatch, 'case "$*" in *-kernel*) exec sleep 60 ;; esac; exit 33'
    )
    found = try_kvm()
    assert found.kvm is KvmState.BROKEN and "had not started in it after 1 s" in found.reason


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="needs /dev/kvm")
def test_the_answer_is_remembered_until_qemu_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake_qemu(tmp_path / "bin", monkeypatch, f"echo x >> {tmp_path}/calls; echo first >&2; exit 1")
    assert accelerator().reason == accelerator().reason == "first"
    assert (tmp_path / "calls").read_text() == "x\n"
    fake_qemu(tmp_path / "bin", monkeypatch, "echo second, another program >&2; exit 1")
    assert accelerator().reason == "second, another program"


def test_a_kernel_that_only_root_may_read_is_named_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "vmlinuz-6.8"
    kernel.touch()
    assert kernel_finding(tmp_path).ok
    # root may read everything: the one thing to play
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = kernel_finding(tmp_path)
    assert (
        not finding.ok
        and str(kernel) in finding.detail
        and finding.cure.startswith("sudo chmod +r")
    )


def test_a_machine_without_kernels_is_told_which_package_to_install(tmp_path: Path) -> None:
    assert kernel_finding(tmp_path).cure == "sudo apt-get install linux-image-cloud-amd64"


def test_a_tool_is_found_with_its_version_or_missed_with_its_package() -> None:
    assert "emulator" in tool_finding("qemu-system-x86_64").detail
    assert tool_finding("no-such-tool").cure == "sudo apt-get install no-such-tool"


def test_examining_names_each_thing_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = [finding.name for finding in run_checks()]
    assert len(names) == len(set(names)) and {"kvm", "kernel", "qemu-img"} <= set(names)


def test_descriptors_of_a_grown_file_system_must_fit_into_the_reserved_blocks() -> None:
    one = ExtContent(
        "ext4", size=GiB, block_count=262144, descriptor_size=64, reserved_gdt_blocks=127
    )
    assert 11 * GiB <= size_in_place(one)
    # 128 blocks of 64 groups of 128 MiB, one of them there already
    assert 1024 * GiB <= size_in_place(one)
    assert 1025 * GiB > size_in_place(one)
    bare = replace(one, descriptor_size=32, reserved_gdt_blocks=0)
    assert 17 * GiB > size_in_place(bare)

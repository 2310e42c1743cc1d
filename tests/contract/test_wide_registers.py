"""The user-mode kernel on a processor with AMX: the failing call is hidden from it.

Any processor can be made to look like one, so this is tried everywhere; with AMX, all other tests
of that kernel show it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.backends import uml_registers
from growdisk.backends.uml import launch
from growdisk.block.raw import RawFile
from growdisk.host.fuse_mount import mounted
from growdisk.units import MiB
from tests.e2e.process import need
from tests.guests.tools import run

# Each touches new memory all the time, which is when AVX's registers would be lost.
_DIGESTS = """
import hashlib, random
content = random.Random(1).randbytes(3 << 20)
for _ in range(3):
    pieces = [content[start:] + b"-" for start in range(16)]
print([hashlib.new(name, piece).hexdigest() for piece in pieces for name in ("sha256", "sha512", "md5", "blake2b")])
print(content.decode("latin-1").upper().count("AB"), content.replace(b"ab", b"abc").find(b"growdisk"))
"""  # noqa: E501
_ASK = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(child, 0)
room = ctypes.create_string_buffer(1 << 16)
vector = (ctypes.c_size_t * 2)(ctypes.addressof(room), len(room))
for request, what in ((0x4204, 0x202), (0x4204, 1), (14, 0)):
    ctypes.set_errno(0)
    vector[1] = len(room)
    failed = libc.ptrace(request, child, what, vector if request == 0x4204 else ctypes.addressof(room))
    print(ctypes.get_errno() if failed else 0, end=" ")
os.kill(child, signal.SIGKILL)
"""  # noqa: E501


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    need("uml")
    monkeypatch.setattr(uml_registers, "too_wide", lambda: True)


@pytest.mark.appliance
def test_programs_in_there_compute_what_they_compute_here(wide: None, tmp_path: Path) -> None:
    with (
        closing(RawFile.create(tmp_path / "disk.raw", MiB)) as device,
        mounted({"disk": device}, cached=False) as (place, _),
        launch([place / "disk"], device.flush) as appliance,
    ):
        ask = appliance._shell.run
        assert ask("python3", "-I", "-S", "-c", _DIGESTS, accept=range(1)) == (0, _said(_DIGESTS))
        status, digest = ask("sha512sum", "/usr/bin/python3", accept=range(1))
    assert (status, digest.split()[0]) == (0, _host("sha512sum", "/usr/bin/python3").split()[0])


@pytest.mark.appliance
def test_the_kernel_itself_loads_what_a_file_system_needs(wide: None, tmp_path: Path) -> None:
    """By a program that it starts with an environment of its own."""
    run("mkfs.fat", "-C", tmp_path / "disk.raw", "4096")
    with (
        closing(RawFile.open(tmp_path / "disk.raw", writable=True)) as device,
        mounted({"disk": device}, cached=False) as (place, _),
        launch([place / "disk"], device.flush) as appliance,
    ):
        ask = appliance._shell.run
        ask("mkdir", "/tmp/here")
        assert ask("mount", "-t", "vfat", "/dev/ubda", "/tmp/here", accept=range(1))[0] == 0


def _said(script: str) -> str:
    return _host("/usr/bin/python3", "-I", "-S", "-c", script)


def _host(*words: str) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_only_the_call_for_vector_registers_fails(wide: None) -> None:
    with uml_registers.syscall_filter() as filtering:
        assert filtering is not None
        words = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--seccomp", str(filtering), "--"]
        ask = [sys.executable, "-c", _ASK]
        asked = subprocess.run(
            [*words, *ask], check=True, stdout=subprocess.PIPE, pass_fds=(filtering,)
        ).stdout
    assert asked.split() == [b"22", b"0", b"0"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(filtering)


def test_where_registers_fit_nothing_is_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml_registers, "too_wide", lambda: False)
    with uml_registers.syscall_filter() as filtering:
        assert filtering is None
    assert uml_registers.register_variables() == ()


def test_a_processor_with_amx_is_too_wide() -> None:
    flags = next(
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")
    )
    assert uml_registers.too_wide() == (" amx_tile" in flags)

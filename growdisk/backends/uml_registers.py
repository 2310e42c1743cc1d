"""Processors whose registers are too wide for the user-mode kernel.

Each time that it goes on with one of its programs, Linux 6.1 as a program sets that program's
vector registers from room of 2,696 bytes (arch/x86/um/user-offsets.c). The host takes all of them
or none (PTRACE_SETREGSET of NT_X86_XSTATE, arch/x86/kernel/fpu/regset.c): enough for AVX-512; with
AMX it wants 11,008 bytes, and nothing starts ("ptrace set fp regs failed, errno = 14"). Where the
host knows no such call, that kernel takes an older one which names SSE's registers alone. So the
host is made to say so. What AVX adds to them is then lost at every page fault, and what runs in
there must not use it: of the tools that growdisk starts, those of glibc and OpenSSL do, unless
variables forbid it.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WITHOUT_AVX = (
    "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Fast_Unaligned_Load",
    "OPENSSL_ia32cap=~0x1800000000000000:0",  # leaf 1 without AVX and OSXSAVE, nothing of leaf 7
)
# the room that a signal takes on a stack, which holds all registers: asm/auxvec.h
_AT_MINSIGSTKSZ = 51
_WIDEST = 4096  # with AVX-512 it is 3632, with AMX 11952
_PTRACE, _GETREGSET, _NT_X86_XSTATE, _AUDIT_ARCH_X86_64 = 101, 0x4204, 0x202, 0xC000003E
# BPF's: a word of seccomp_data; linux/bpf_common.h
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000  # linux/seccomp.h
_ARCHITECTURE, _NUMBER, _FIRST, _THIRD = 4, 0, 16, 32  # where seccomp_data has them


def too_wide() -> bool:
    """Whether this processor's are.

    No file, or nothing of it in there, is a host that knows no AMX either.
    """
    try:
        words = memoryview(Path("/proc/self/auxv").read_bytes()).cast("Q")
    except OSError:
        return False
    return any(
        key == _AT_MINSIGSTKSZ and size > _WIDEST
        for key, size in zip(words[::2], words[1::2], strict=True)
    )


def register_variables() -> tuple[str, ...]:
    """Variables for the programs inside: a kernel passes unknown options to its first one.

    That one passes them to all.
    """
    return _WITHOUT_AVX if too_wide() else ()


@contextmanager
def syscall_filter() -> Iterator[int | None]:
    """An open file with the filter, for bwrap's --seccomp, if it is needed."""
    if not too_wide():
        yield None
        return
    file = os.memfd_create("growdisk-filter")
    try:
        os.write(file, _program())
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def _program() -> bytes:
    """PTRACE_GETREGSET of vector registers fails, all else goes through."""
    wanted = (
        (_ARCHITECTURE, _AUDIT_ARCH_X86_64),
        (_NUMBER, _PTRACE),
        (_FIRST, _GETREGSET),
        (_THIRD, _NT_X86_XSTATE),
    )
    # Pairs "load a word; compare": an unequal word jumps over the rest and the failing return.
    program = b""
    for place, (offset, value) in enumerate(wanted):
        to_allow = 2 * (len(wanted) - place) - 1
        program += _instruction(_LOAD, offset) + _instruction(
            _JUMP_IF_EQUAL, value, otherwise=to_allow
        )
    return program + _instruction(_RETURN, _FAIL | errno.EINVAL) + _instruction(_RETURN, _ALLOW)


def _instruction(code: int, value: int, *, otherwise: int = 0) -> bytes:
    # struct sock_filter: code, jump if true, jump if false (both count instructions), operand.
    return struct.pack("<HBBI", code, 0, otherwise, value)

"""A Linux kernel as a program (User-Mode Linux), with the disk: an appliance within a second.

It needs neither KVM nor an emulated machine: what a guest's file system needs of a kernel runs at
the processor's own speed. It sees a read-only /usr of this machine, whose tools do the work, the
disk through FUSE, and nothing else: it is confined like the tools of the direct backend
(sandbox.py), so a hostile file system that takes the kernel over is still within the same walls.
uml_agent.py inside it answers requests that come through a line and a folder of files. Spec: Linux
Documentation/virt/uml/user_mode_linux_howto_v2.rst.
"""

from __future__ import annotations

import binascii
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from growdisk.backends import uml_agent, uml_registers
from growdisk.backends.appliance import Appliance, ApplianceFailed
from growdisk.backends.guest_handle import DISK
from growdisk.host.command import awaited, kill_all, last_lines, start
from growdisk.host.sandbox import confined_kernel

TOOL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
_DISK, _LETTERS = "/dev/ubda", "abcdefghijklmnop"
_MEMORY_MIB = 768
_LAUNCH_SECONDS = 90.0
_POLL_SECONDS = 0.5
_SHORT = 1024  # a line of its terminal holds 4096
_END_SECONDS = 10.0
_PANIC = "Kernel panic"
_NAME = "the user-mode kernel"
_HINT = "--backend guestfs does without it; growdisk doctor says what works on this machine"
# Its root is what bwrap shows it; modules come from where its package puts them.
_INIT = """#!/bin/sh
export PATH=/run/growdisk:/usr/sbin:/usr/bin DM_DISABLE_UDEV=1 LC_ALL=C
mount -t proc proc /proc; mount -t sysfs sysfs /sys
for place in /tmp /run /etc; do mount -t tmpfs tmpfs $place; done
mkdir -p /run/growdisk /run/lock /etc/lvm
ln -s /proc/self/mounts /etc/mtab
# The kernel starts it with an environment of its own.
{ echo '#!/bin/sh'; export -p; echo 'exec /usr/sbin/modprobe -d /uml "$@"'; } \\
    >/run/growdisk/modprobe
printf '#!/bin/sh\\n' >/run/growdisk/udevadm
chmod +x /run/growdisk/*
echo /run/growdisk/modprobe >/proc/sys/kernel/modprobe
{
    echo 'devices { use_devicesfile=0 } backup { backup=0 archive=0 }'
    echo 'activation { udev_sync=0 udev_rules=0 }'
} >/etc/lvm/lvm.conf
exec python3 -X utf8 -I -S /exchange/agent.py
"""
# Half of its start, if it were let: RAID's parity, 256 terminals of an old kind, how long a loop
# takes, for delays of devices.
_QUICK = ("initcall_blacklist=raid6_select_algo", "pty.legacy_count=0", "lpj=30000000")
_KERNEL = (
    "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "init=/exchange/init", "con=null",
    "con0=null,fd:1",
    "quiet", "security=none", "random.trust_cpu=on", "rcupdate.rcu_expedited=1", *_QUICK,
)  # fmt: skip


def launch(
    disks: Sequence[Path],
    flush: Callable[[], None],
    *,
    cancelled: Callable[[], bool] = lambda: False,
) -> Appliance:
    """Start it on the files `disks`, the one to work on first, in a folder that is nobody else's.

    `flush` makes durable what was written to them: this kernel does not pass a disk's flush on.
    appliance-failed with the reason, at the latest after a minute and a half, and soon after
    `cancelled` has become true.
    """
    # In the folder that the FUSE folder is in: what lies there goes with the mount.
    exchange = disks[0].parent.parent / "exchange"
    # What the kernel starts from: its first script, and the agent that this becomes.
    exchange.mkdir(mode=0o700)
    shutil.copyfile(uml_agent.__file__, exchange / "agent.py")
    init = exchange / "init"
    init.write_text(_INIT)
    init.chmod(0o700)
    # One end becomes the kernel's first serial line (ssl0), on which the agent listens.
    ours, theirs = socket.socketpair()
    console = (exchange.parent / "console").open("wb")
    with theirs, console, uml_registers.syscall_filter() as filtering:
        end = theirs.fileno()
        # For the kernel ubda, ubdb, ...; within the walls /disk, /disk1, ...
        places = {f"/disk{number or ''}": disk for number, disk in enumerate(disks)}
        shown = [f"ubd{letter}={place}" for letter, place in zip(_LETTERS, places, strict=False)]
        kernel = [
            TOOL,
            f"mem={_MEMORY_MIB}M",
            f"ssl0=fd:{end}",
            *shown,
            *_KERNEL,
            *uml_registers.register_variables(),
        ]
        words = confined_kernel(
            kernel, places, exchange, MODULES, memory=_MEMORY_MIB << 20, syscall_filter=filtering
        )
        # The child has both descriptors after this; ours of them are closed when the block ends, so
        # that recv() ends when the kernel is gone.
        pass_fds = (end,) if filtering is None else (end, filtering)
        process = start(words, pass_fds=pass_fds, env={}, shown=kernel, console=console)
    # From here on the kernel runs: any failure must end it.
    handle = UmlHandle(process, ours, exchange, flush)
    try:
        handle.await_ready(cancelled)
    except BaseException:
        handle.close()
        raise
    return Appliance(handle, str(exchange), _DISK, _NAME)


class UmlHandle:
    """Implements guest_handle's Handle.

    A call that fails, also because the kernel is gone, raises RuntimeError.
    """

    def __init__(
        self,
        process: subprocess.Popen[str],
        channel: socket.socket,
        exchange: Path,
        flush: Callable[[], None],
    ) -> None:
        self._process, self._channel = process, channel
        self._exchange, self._flush = exchange, flush
        self._number, self._pending = 0, b""

    def await_ready(self, cancelled: Callable[[], bool]) -> None:
        end = time.monotonic() + _LAUNCH_SECONDS
        self._channel.settimeout(_POLL_SECONDS)
        while True:
            try:
                if self._line() == "ready":
                    self._channel.settimeout(None)
                    return
            except TimeoutError:
                # It has not said anything for a poll, which is the time to look at the clock.
                if time.monotonic() > end or cancelled():
                    reason = f"last seen: {self._last_words}"
                    raise ApplianceFailed(reason, _HINT, name=_NAME) from None
            except RuntimeError as error:
                raise ApplianceFailed(str(error), _HINT, name=_NAME) from error

    def close(self) -> None:
        """End it at once."""
        # bwrap names the exchange in its command line, and takes the kernel with it.
        kill_all(str(self._exchange))
        awaited(self._process, _END_SECONDS)
        self._channel.close()

    def debug(self, subcmd: str, extraargs: list[str]) -> str:
        return self._ask("shell", *extraargs).decode(errors="replace")

    def sh(self, command: str) -> str:
        return self._ask("shell in guest", command).decode(errors="replace")

    def lvs(self) -> list[str]:
        # Here nobody has activated them yet: libguestfs's appliance does when it starts.
        listing = "lvm lvs --noheadings --options vg_name,lv_name"
        names = self._ask(
            "shell", f"lvm vgchange -ay >/run/vgchange 2>&1; {listing} 2>/run/lvs"
        ).decode()
        return ["/dev/{}/{}".format(*line.split()) for line in names.splitlines() if line.strip()]

    def mount_options(self, options: str, mountable: str, mountpoint: str) -> None:
        self._ask("mount", options, mountable.replace(DISK, _DISK, 1), mountpoint)

    def umount_all(self) -> None:
        self._ask("unmount all")

    def sync(self) -> None:
        # Two caches: the kernel's, then ours, because it does not pass a flush on to its disks.
        self._ask("sync")
        self._flush()

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self._ask("read", path, count, offset)

    def write(self, path: str, content: bytes) -> None:
        self._ask("write", path, -1, data=content)

    def pwrite(self, path: str, content: bytes, offset: int) -> int:
        self._ask("write", path, offset, data=content)
        return len(content)

    def upload(self, filename: str, remotefilename: str) -> None:
        self.write(remotefilename, Path(filename).read_bytes())

    def exists(self, path: str) -> bool:
        return bool(self._value_of("exists", path))

    def is_file(self, path: str, *, followsymlinks: bool) -> bool:
        return bool(self._value_of("is file", path, followsymlinks))

    def glob_expand(self, pattern: str, *, directoryslash: bool) -> list[str]:
        return [str(path) for path in self._value_of("glob", pattern)]

    def realpath(self, path: str) -> str:
        return str(self._value_of("real path", path))

    def mkdir_p(self, path: str) -> None:
        self._ask("make folder", path)

    def chown(self, owner: int, group: int, path: str) -> None:
        self._ask("chown", path, owner, group)

    def chmod(self, mode: int, path: str) -> None:
        self._ask("chmod", path, mode)

    def rm(self, path: str) -> None:
        self._ask("remove", path)

    def ln_s(self, target: str, linkname: str) -> None:
        self._ask("link", target, linkname)

    def _value_of(self, operation: str, *arguments: object) -> Any:
        return json.loads(self._ask(operation, *arguments))

    def _ask(self, operation: str, *arguments: object, data: bytes | None = None) -> bytes:
        self._number += 1
        base = self._exchange / str(self._number)
        base.with_suffix(".request").write_text(json.dumps([operation, arguments]))
        # What is short travels by the line alone: a key must not get into a file of the host.
        short = b""
        if data is not None and 0 < len(data) <= _SHORT:
            short = b" " + binascii.b2a_base64(data, newline=False)
        elif data is not None:
            base.with_suffix(".in").write_bytes(data)
        try:
            self._channel.sendall(b"%d%b\n" % (self._number, short))
            # The agent answers in order, by the request's number.
            while self._line() != str(self._number):
                pass
        except OSError as error:
            raise RuntimeError(self._ended) from error
        try:
            return _answer(base)
        finally:
            # Also after a failure: a guest's bytes do not stay on this machine.
            for path in self._exchange.glob(f"{self._number}.*"):
                path.unlink()

    def _line(self) -> str:
        while b"\n" not in self._pending:
            chunk = self._channel.recv(4096)
            if not chunk:
                raise RuntimeError(self._ended)
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace").strip()

    @property
    def _ended(self) -> str:
        return f"{_NAME} ended: {self._last_words}"

    @property
    def _last_words(self) -> str:
        """Its console is its own: what it says is not to be trusted, nor how much."""
        with (self._exchange.parent / "console").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            said = file.read().decode(errors="replace")
        # What brought a kernel down stands before its panic; after it comes where it was.
        end = said.find("\n", said.find(_PANIC)) if _PANIC in said else len(said)
        return last_lines(said[:end]) or "it gave no reason"


def _answer(base: Path) -> bytes:
    # A request that failed has an error; one without an answer has no .out.
    error = _content(base.with_suffix(".error"))
    if error is not None:
        raise RuntimeError(error.decode(errors="replace"))
    return _content(base.with_suffix(".out")) or b""


def _content(path: Path) -> bytes | None:
    try:
        # A kernel that was taken over may put anything there: a link out of it, a FIFO to wait for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RuntimeError(f"{_NAME} gave no answer that can be read: {error}") from error
    with os.fdopen(descriptor, "rb") as file:
        return file.read()

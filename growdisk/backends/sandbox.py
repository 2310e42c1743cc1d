"""Runs a host tool on a file that a guest has made, so that nothing but that file can suffer.

A hostile file system may take over the tool that reads it. Then it finds: no network, no other process, no file of
this machine but a read-only /usr, no privilege to gain, and limits on time and memory; it ends when growdisk ends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from growdisk.backends import clock
from growdisk.backends.command import CompletedCommand, run

TOOLS = ("bwrap", "prlimit")
DISK = "/disk"  # the file, as the tool sees it
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64")
_MEMORY = 4 << 30
_SECONDS = 900
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin"}


def run_confined(
    argv: Sequence[str], disk: Path, *, writable: bool, accept: Collection[int] | None = (0,),
    seconds: float = _SECONDS, memory: int = _MEMORY, input: str | None = None,
) -> CompletedCommand:  # fmt: skip
    """Run `argv`, which names the file `disk` as DISK. Raises what command.run() raises, in the tool's own name."""
    limits = ["prlimit", f"--as={memory}", f"--cpu={int(seconds)}", "--core=0", "--nofile=64", "--"]
    words = ["bwrap", *_walls(disk, writable=writable), "--", *limits, *argv]
    return run(words, timeout=seconds, accept=accept, name=argv[0], input=input)


def _walls(disk: Path, *, writable: bool) -> list[str]:
    words = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
    for name in _MERGED:
        if Path(f"/{name}").is_symlink():
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        elif Path(f"/{name}").is_dir():
            words += ["--ro-bind", f"/{name}", f"/{name}"]
    # Without an mtab, resize2fs does not know whether the disk is mounted, and refuses.
    mtab = disk.parent.parent / "mtab"
    mtab.touch()
    words += ["--dev", "/dev", "--ro-bind", str(mtab), "/etc/mtab"]
    words += ["--bind" if writable else "--ro-bind", str(disk), DISK]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--clearenv"]  # no memory to fill either
    environment = {**_ENVIRONMENT, **clock.environment()}
    return words + [word for name, value in environment.items() for word in ("--setenv", name, value)]

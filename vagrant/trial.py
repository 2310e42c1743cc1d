"""`python -m vagrant.trial`: a running vagrant guest grows, and reports that itself.

Twice: the Vagrantfile here, grown from the host by `growdisk expand -d`; and own/Vagrantfile, which
asks vagrant for a larger disk and has growdisk fill it. All of it, libvirt too, lives in namespaces
of its own (own-libvirt.sh) and in one temporary folder, and goes with the trial, however that ends.
Needs root.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import GiB, MiB
from vagrant.box import NAME, box
from vagrant.driver import driver

HERE = Path(__file__).parent
GROWDISK = Path(sys.executable).with_name("growdisk")
_ASK = (
    "lsblk --bytes --noheadings --list --output NAME,SIZE; df -B1 --output=target,size / | "
    "tail -1; cat /proc/swaps"
)


@dataclass(frozen=True)
class Vagrant:
    """vagrant in a folder with a Vagrantfile, with a private home."""

    folder: Path
    home: Path

    def run(self, *words: str, capture: bool = False) -> str:
        say(f"vagrant {' '.join(words)}")
        done = subprocess.run(
            ["vagrant", "--no-tty", *words], cwd=self.folder, env=self.environment(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if capture else None,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(
                f"vagrant.trial: vagrant {words[0]} ended with exit code {done.returncode}"
            )
        return done.stdout or ""

    def environment(self) -> dict[str, str]:
        own = {
            "VAGRANT_HOME": str(self.home),
            "VAGRANT_DOTFILE_PATH": str(self.home.parent / f"dot-{self.folder.name}"),
            "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "GROWDISK_POOL": "growdisk",
            "GROWDISK_DRIVER": driver(), "PATH": f"{GROWDISK.parent}:{os.environ['PATH']}",
        }  # fmt: skip
        return {**os.environ, **own}

    @contextmanager
    def up(self) -> Iterator[None]:
        try:
            self.run("up")
            yield
        finally:
            self.run("destroy", "--force")

    def inside(self) -> dict[str, int]:
        """Disk, partitions, swaps and the file system at /, in bytes, as the guest has them."""
        lines = [line.split() for line in self.run("ssh", "-c", _ASK, capture=True).splitlines()]
        return {
            words[0]: int(words[-1 if len(words) == 2 else 2])
            for words in lines
            if words and words[0] != "Filename"
        }


def main(words: Sequence[str]) -> int:
    if words[:1] == ["--inside"]:
        return inside(Path(words[1]))
    if os.geteuid() != 0:
        raise SystemExit("vagrant.trial: needs root, for a libvirtd of its own")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    box()  # outside: it may need the network
    with tempfile.TemporaryDirectory(prefix="growdisk-vagrant-", dir="/var/tmp") as scratch:
        Path(scratch).chmod(0o711)
        trial = [sys.executable, "-m", "vagrant.trial", "--inside", scratch]
        return subprocess.run(
            [HERE / "own-libvirt.sh", scratch, *trial], cwd=HERE.parent
        ).returncode


def inside(scratch: Path) -> int:
    """With libvirt running."""
    live = Vagrant(HERE, scratch / "home")
    live.run("box", "add", "--name", NAME, str(box()))
    grown_from_the_host(live)
    own = Vagrant(scratch / "own", scratch / "home")
    own.folder.mkdir()
    (own.folder / "Vagrantfile").write_text((HERE / "own" / "Vagrantfile").read_text())
    grown_by_a_line_of_ones_own(own)
    leftovers = subprocess.run(
        ["virsh", "-q", "list", "--all", "--name"], check=True, capture_output=True, text=True
    )
    check("no machine is left behind", leftovers.stdout.split() == [])
    return 0


def grown_from_the_host(vagrant: Vagrant) -> None:
    with vagrant.up():
        before = vagrant.inside()
        say("growdisk expand -d growdisk-classic +10G")
        started = time.monotonic()
        done = subprocess.run(
            [GROWDISK, "--json", "expand", "-d", "growdisk-classic", "+10G"],
            stdout=subprocess.PIPE,
            text=True,
        )
        say(f"exit code {done.returncode} after {time.monotonic() - started:.1f} s")
        answer = json.loads(done.stdout)
        check("growdisk says that the disk has changed", answer.get("result") == "changed", answer)
        after = vagrant.inside()
        check("the disk is 10 GiB larger", after["sda"] == before["sda"] + 10 * GiB, before, after)
        check_full(after)


def grown_by_a_line_of_ones_own(vagrant: Vagrant) -> None:
    with vagrant.up():
        after = vagrant.inside()
        check("the disk is as large as the Vagrantfile says", after["vda"] == 8 * GiB, after)
        check_full(after)


def check_full(sizes: dict[str, int]) -> None:
    """One partition fills the disk, and a file system fills it, except for ext4's own share."""
    disk = next(name for name in sizes if name in ("sda", "vda"))
    check(f"{disk}1 fills the disk", sizes[f"{disk}1"] == sizes[disk] - MiB, sizes)
    check("the swap is gone", f"/dev/{disk}5" not in sizes and f"{disk}5" not in sizes, sizes)
    check("the file system fills the partition", sizes["/"] > 0.95 * sizes[f"{disk}1"], sizes)


def check(claim: str, true: bool, *facts: object) -> None:
    say(f"{'ok' if true else 'NOT TRUE'}: {claim}")
    if not true:
        raise SystemExit(f"vagrant.trial: not true: {claim}: {facts}")


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A host with real ZFS: Debian's kernel in a QEMU machine,
with the module of zfs-dkms, and this machine's /usr.

The packages come from Debian's section contrib, by the sources that this machine has; nothing of
them is installed. The module is compiled once (5 minutes) and kept with its initramfs in the cache.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.e2e.boot import EMULATED_CPU
from tests.guest_scripts.micro import BUSYBOX, closure_of, kernel
from tests.guests.cache import cached, recipe_hash
from tests.guests.tools import environment, run
from tests.hosts.machine import bring_code

_VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
_DRIVERS = ("virtio_pci", "virtio_blk", "fuse", "virtiofs", "loop")
# in the order of their needs
_ZFS = ("spl", "znvpair", "zcommon", "zunicode", "zavl", "icp", "zlua", "zzstd", "zfs")
_APPLETS = ("sh", "mount", "umount", "insmod", "mkdir", "ln", "cp", "switch_root")
_BUILD = """
cd {tree}/usr/src/zfs-*
headers={tree}/usr/src/linux-headers-{version}
sed -i "s#/usr/src/#{tree}/usr/src/#" $headers/Makefile
common=$(sed -n 's#^include \\(.*\\)/Makefile$#\\1#p' $headers/Makefile)
./configure --prefix=/usr --with-config=kernel --with-linux=$common --with-linux-obj=$headers >/dev/null
make -s -j$(nproc) >/dev/null
for name in {modules}; do strip --strip-debug -o {target}/$name.ko $(find module -name $name.ko); done
"""  # noqa: E501
_INIT = """\
#!/bin/sh
mount -t devtmpfs none /dev; mount -t proc none /proc; mount -t sysfs none /sys
exec </dev/ttyS0 >/dev/ttyS0 2>&1
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t tmpfs -o size=700m none /new
for name in dev proc sys usr run tmp etc exchange var root; do mkdir /new/$name; done
cp -a /bin /zfs /go /new/
umount /proc; umount /sys; mount --move /dev /new/dev
exec switch_root /new /bin/sh /go
"""
_GO = """\
mount -t proc none /proc; mount -t sysfs none /sys
mount -t virtiofs usr /usr; mount -t virtiofs exchange /exchange
for name in lib lib64 sbin; do ln -s usr/$name /$name; done
mount -t tmpfs none /tmp; mount -t tmpfs none /run; mkdir -p /dev/shm /dev/pts; mount -t tmpfs none /dev/shm
exec /usr/bin/dash /exchange/host
"""  # noqa: E501
# udev makes the links in /dev/zvol, by ZFS's own rule; its programs and those of ZFS have libraries
# of their own.
_HOST = """\
export LC_ALL=C
mkdir -p /run/own /run/lock /run/udev/rules.d /etc/udev
ln -s /zfs/bin/udevadm /run/systemd-udevd
libraries=/zfs/lib/x86_64-linux-gnu:/zfs/usr/lib/x86_64-linux-gnu:/zfs/usr/lib/x86_64-linux-gnu/systemd
for tool in /zfs/sbin/zfs /zfs/sbin/zpool /zfs/lib/udev/zvol_id /zfs/bin/udevadm /run/systemd-udevd; do
    printf '#!/bin/sh\\nLD_LIBRARY_PATH=%s exec %s "$@"\\n' $libraries $tool >/run/own/${tool##*/}
done
chmod +x /run/own/*
export PATH=/run/own:/usr/sbin:/usr/bin
cp /zfs/lib/udev/rules.d/*.rules /run/udev/rules.d/
sed -i 's#/lib/udev/zvol_id#/run/own/zvol_id#' /run/udev/rules.d/60-zvol.rules
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd; echo root:x:0: >/etc/group; ln -s /proc/self/mounts /etc/mtab
systemd-udevd --daemon; udevadm trigger; udevadm settle
export PYTHONPATH=/exchange/python
growdisk() { /usr/bin/python3 -m growdisk.cli.start "$@"; }
(set -e; . /exchange/script) >/exchange/out 2>&1
echo $? >/exchange/status
sync; echo o >/proc/sysrq-trigger; sleep 100
"""  # noqa: E501


def in_zfs_host(script: str, exchange: Path, disks: Sequence[Path], log: Path | None = None) -> str:
    """What the script prints there; `disks` are /dev/vda and so on, `exchange` is /exchange.

    RuntimeError if it fails. It has zfs, zpool, udevadm and growdisk. All writes to its first disk
    are noted in the file `log` (power.py).
    """
    if os.geteuid() != 0 or not _VIRTIOFSD.exists():
        pytest.skip("virtiofsd needs root")
    bring_code(exchange / "python")
    (exchange / "host").write_text(_HOST)
    (exchange / "script").write_text(script)
    with tempfile.TemporaryDirectory(prefix="growdisk-zfs-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        words = _command(folder, disks, log)
        for tag, source in (("usr", Path("/usr")), ("exchange", exchange)):
            stack.enter_context(_shared(source, folder / tag))
            words += ["-chardev", f"socket,id={tag},path={folder / tag}"]
            words += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
        with (folder / "log").open("wb") as log:
            subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                timeout=1500,
            )
        said = exchange / "out"
        text = (
            said.read_text() if said.exists() else (folder / "console").read_text(errors="replace")
        )
    status = exchange / "status"
    if not status.exists() or status.read_text().strip() != "0":
        raise RuntimeError(text)
    return text


def _command(folder: Path, disks: Sequence[Path], log: Path | None) -> list[str]:
    image = kernel()[0]
    drives = [word for disk in disks for word in ("-drive", f"if=virtio,format=raw,file={disk}")]
    if log is not None:
        files = f"file.driver=file,file.filename={disks[0]},log.driver=file,log.filename={log}"
        drives[1] = f"if=virtio,driver=blklogwrites,{files}"
    return [
        "setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi",
        "-cpu", EMULATED_CPU, "-m", "1024", "-smp", "1", "-display", "none", "-monitor", "none",
        "-no-reboot", "-serial", f"file:{folder / 'console'}",
        "-object", "memory-backend-memfd,id=memory,size=1024M,share=on",
        "-numa", "node,memdev=memory", "-kernel", str(image), "-initrd", str(_initramfs()),
        "-append", "console=ttyS0 quiet panic=-1 rdinit=/init", *drives,
    ]  # fmt: skip


@contextmanager
def _shared(source: Path, path: Path) -> Iterator[None]:
    """A virtiofsd that is there when QEMU connects: the socket is ours."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        words = [_VIRTIOFSD, f"--fd={listener.fileno()}", "-o", f"source={source}"]
        daemon = subprocess.Popen(
            words, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL, env=environment()
        )
    try:
        yield
    finally:
        daemon.kill()
        daemon.wait()


def _initramfs() -> Path:
    version = kernel()[0].name.removeprefix("vmlinuz-")
    key = f"zfs-{version}-{recipe_hash([Path(__file__)])[:20]}"
    return cached(key, lambda folder: _build(folder, version)) / "initramfs"


def _build(folder: Path, version: str) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-zfs-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        tools, sources, tree = work / "tools", work / "sources", work / "initramfs"
        for place in (tools, sources, tree / "modules"):
            place.mkdir(parents=True)
        packages = _Packages(work / "apt")
        own = [
            "zfsutils-linux",
            *(name for name in packages.needs("zfsutils-linux") if name.endswith("linux")),
        ]
        packages.unpack([*own, "udev", "libsystemd-shared"], tools)
        packages.unpack(
            ["zfs-dkms", f"linux-headers-{version}", *packages.needs(f"linux-headers-{version}")],
            sources,
        )
        target = tree / "modules"
        script = _BUILD.format(tree=sources, version=version, modules=" ".join(_ZFS), target=target)
        run("sh", "-c", f"set -e; {script}")
        _fill(tree, tools, closure_of(version, _DRIVERS))
        names = "".join(f"{path.relative_to(tree)}\n" for path in [tree, *sorted(tree.rglob("*"))])
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], input=names.encode(), cwd=tree,
            env=environment(),
            check=True, capture_output=True,
        )  # fmt: skip
        (folder / "initramfs").write_bytes(archive.stdout)


def _fill(tree: Path, tools: Path, drivers: Sequence[Path]) -> None:
    for name in ("bin", "dev", "proc", "sys", "new"):
        (tree / name).mkdir()
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    for applet in _APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")
    for module in drivers:
        shutil.copy(module, tree / "modules" / module.name)
    order = [*(module.name for module in drivers), *(f"{name}.ko" for name in _ZFS)]
    (tree / "modules/order").write_text("".join(f"{name}\n" for name in order))
    shutil.copytree(
        tools,
        tree / "zfs",
        symlinks=True,
        ignore=shutil.ignore_patterns("doc", "man", "locale", "hwdb.d"),
    )
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    (tree / "go").write_text(_GO)


class _Packages:
    """apt's own client in a folder of its own, with this machine's sources and
    their section contrib as well.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("sources", "lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        for source in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
            if source.exists() and "debian" in (text := source.read_text()):
                text = re.sub(
                    r"^(Components:.*\bmain\b.*|deb .*\bmain\b.*)$",
                    r"\1 contrib",
                    text,
                    flags=re.MULTILINE,
                )
                (folder / "sources" / source.name.replace("sources.list", "old.list")).write_text(
                    text
                )
        self._apt("apt-get", "-qq", "update")

    def needs(self, package: str) -> list[str]:
        return re.findall(
            r"^ +Depends: (\S+)$", self._apt("apt-cache", "depends", package), re.MULTILINE
        )

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        self._apt("apt-get", "-qq", "download", *packages)
        for file in self._folder.glob("*.deb"):
            run("dpkg-deb", "-x", file, target)
            file.unlink()

    def _apt(self, tool: str, *words: str) -> str:
        places = {
            "Etc::sourcelist": "/dev/null", "Etc::sourceparts": "sources", "State::lists": "lists",
            "Cache": "cache",
        }  # fmt: skip
        options = [f"-oDir::{name}={self._folder / place}" for name, place in places.items()]
        return run(tool, *options, *words, cwd=self._folder)

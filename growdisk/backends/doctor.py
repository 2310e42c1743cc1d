"""What is on this machine and what works: the facts of `growdisk doctor`. Prints nothing.

The one thing that surprises ordinary users: Ubuntu installs its kernels readable for root alone,
and libguestfs builds its appliance from one.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from growdisk.backends.available import (
    TOOLS,
    Obstacle,
    trial_disk,
    why_no_direct,
    why_no_uml,
)
from growdisk.block.nbd import serve
from growdisk.errors import GrowdiskError, ToolMissing
from growdisk.fast_dataclass import dataclass
from growdisk.host.command import PACKAGES, is_here, require, run
from growdisk.host.kvm import Accelerator, KvmState, accelerator

_BOOT = Path("/boot")
_NEEDED_TOOLS = ("qemu-system-x86_64", "qemu-img", "supermin")
_NEEDED_MODULES = {"guestfs": "python3-guestfs", "parted": "python3-parted"}
_CURES = {
    KvmState.ABSENT: "nothing to do: growdisk uses software emulation, some seconds slower",
    KvmState.BROKEN: "nothing to do: growdisk uses software emulation, some seconds slower",
    KvmState.FORBIDDEN: (
        "sudo adduser $USER kvm, and log in again (until then software emulation is used)"
    ),
}


@dataclass(frozen=True)
class MachineCheck:
    """One fact about the machine.

    Where it is not `ok`, `cure` says what to do; growdisk can work unless `needed`.
    """

    name: str
    ok: bool
    detail: str
    cure: str = ""
    needed: bool = True


def run_checks(*, launch_appliance: bool = False) -> Iterator[MachineCheck]:
    """All findings, as they are found; really launching the appliance takes ten seconds or more."""
    yield from (tool_finding(tool) for tool in _NEEDED_TOOLS)
    yield from (_module_finding(module, package) for module, package in _NEEDED_MODULES.items())
    yield kernel_finding(_BOOT)
    try:
        found = accelerator(fresh=True)
    except ToolMissing as missing:
        found = Accelerator(KvmState.ABSENT, f"cannot be tried without {missing.tool}")
    # KVM that does not work is not an obstacle: everything runs under emulation, only slower.
    yield MachineCheck(
        "kvm",
        found.has_kvm,
        found.reason or "a trial guest ran",
        _CURES.get(found.kvm, ""),
        needed=False,
    )
    if launch_appliance:
        yield appliance_finding(found)
    tools = ", ".join(TOOLS)
    yield _tried("direct backend", why_no_direct, "", f"works, tried in {{:.2f}} s ({tools})")
    fresh, works = partial(why_no_uml, fresh=True), "works, up and away in {:.1f} s"
    yield _tried("user-mode kernel", fresh, ", more slowly", works)


def tool_finding(tool: str) -> MachineCheck:
    """Whether a program is there, and its version."""
    try:
        require(tool)
        answer = run([tool, "--version"], accept=None, timeout=20).stdout.splitlines()
    except ToolMissing as missing:
        return MachineCheck(tool, False, missing.why, missing.what_to_do)
    return MachineCheck(tool, True, answer[0] if answer else "installed")


def kernel_finding(boot: Path) -> MachineCheck:
    """Whether there is a kernel to build the appliance from, and this user may read it."""
    kernels = sorted(boot.glob("vmlinu*"))
    if not kernels:
        cure = "sudo apt-get install linux-image-cloud-amd64"
        return MachineCheck("kernel", False, f"there is none in {boot}", cure)
    readable = [kernel for kernel in kernels if os.access(kernel, os.R_OK)]
    if not readable:
        detail = f"this user may not read {', '.join(map(str, kernels))}"
        return MachineCheck("kernel", False, detail, f"sudo chmod +r {boot}/vmlinuz-*")
    return MachineCheck("kernel", True, str(readable[-1]))


def appliance_finding(found: Accelerator) -> MachineCheck:
    """Launch the appliance on an empty disk, and end it."""
    try:
        from growdisk.backends.guestfs import launch

        with trial_disk() as disk, serve(disk) as server:
            started = time.monotonic()
            with launch(server.socket_path, accelerator=found):
                seconds = time.monotonic() - started
    except GrowdiskError as error:
        return MachineCheck("appliance", False, str(error), error.what_to_do)
    except (ImportError, OSError) as error:
        return MachineCheck("appliance", False, str(error), "sudo apt-get install python3-guestfs")
    how = "KVM" if found.has_kvm else "software emulation"
    return MachineCheck("appliance", True, f"up in {seconds:.1f} s under {how}")


def _tried(
    name: str, why_not: Callable[[], Obstacle | None], instead: str, works: str
) -> MachineCheck:
    """Really try a backend that growdisk can do without; `works` has a place for the seconds."""
    started = time.monotonic()
    if (found := why_not()) is not None:
        cure = f"{found.cure} (until then libguestfs does it{instead})"
        return MachineCheck(name, False, found.reason, cure, needed=False)
    return MachineCheck(name, True, works.format(time.monotonic() - started), needed=False)


def _module_finding(module: str, package: str) -> MachineCheck:
    if importlib.util.find_spec(module) is None:
        cure = (
            f"sudo apt-get install {package}, and a venv with --system-site-packages (make setup)"
        )
        return MachineCheck(f"python {module}", False, "this Python cannot import it", cure)
    return MachineCheck(f"python {module}", True, "can be imported")


# --- what can be grown here, and which packages are missing ---------------------------------------

_FEDORA = {
    "e2fsprogs": "e2fsprogs", "fdisk": "util-linux", "bubblewrap": "bubblewrap", "fuse3": "fuse3",
    "ntfs-3g": "ntfsprogs", "f2fs-tools": "f2fs-tools", "xfsprogs": "xfsprogs",
    "btrfs-progs": "btrfs-progs",
    "lvm2": "lvm2", "cryptsetup": "cryptsetup", "openssh-client": "openssh-clients",
    "qemu-utils": "qemu-img",
    "python3-libvirt": "python3-libvirt", "python3-guestfs": "python3-libguestfs",
    "qemu-system-x86": "qemu-kvm-core",
    "zfsutils-linux": "zfs", "ceph-common": "ceph-common", "mount": "util-linux",
}  # fmt: skip
_DIRECT = ("direct", "uml", "guestfs")
_KERNEL = ("uml", "guestfs")


@dataclass(frozen=True)
class _Feature:
    """Something that can be grown by the first of `backends` that works, with the `tools`.

    `why_not` really tries it, if nothing is missing.
    """

    what: str
    backends: tuple[str, ...]
    tools: tuple[str, ...] = ()
    modules: tuple[tuple[str, str], ...] = ()
    why_not: Callable[[], str] = lambda: ""


@dataclass(frozen=True)
class Capability:
    """Whether `what` can be grown here, and by which backend.

    `missing` are Debian's packages, `fedora` are Fedora's in the same order. `reason`: why it
    cannot, although nothing is missing.
    """

    what: str
    ok: bool
    by: str
    missing: tuple[str, ...] = ()
    fedora: tuple[str, ...] = ()
    reason: str = ""


def _why_no_libvirt() -> str:
    from growdisk.live.libvirt_domain import machines_within

    try:
        machines_within(None, _LIBVIRT_SECONDS)
    except GrowdiskError as error:
        return f"{error.what}: {error.why}"
    return ""


_LIBVIRT_SECONDS = 5.0
_FEATURES = (
    _Feature("ext2, ext3, ext4", _DIRECT),
    _Feature("NTFS", ("direct",), ("ntfsresize",)),
    _Feature("F2FS", ("direct",), ("resize.f2fs",)),
    _Feature("XFS", _KERNEL, ("xfs_growfs",)),
    _Feature("btrfs", _KERNEL, ("btrfs",)),
    _Feature("LVM", _KERNEL, ("lvm",)),
    _Feature("LUKS", _KERNEL, ("cryptsetup",)),
    _Feature(
        "running guests of libvirt", (), (), (("libvirt", "python3-libvirt"),), _why_no_libvirt
    ),
    _Feature("running guests of plain QEMU", (), (), (("qemu.qmp", "python3-qemu.qmp"),)),
    _Feature("running guests by ssh", (), ("ssh",)),
    _Feature("devices: logical volumes", (), ("lvm",)),
    _Feature("devices: loop", (), ("losetup",)),
    _Feature("devices: ZFS volumes", (), ("zfs",)),
    _Feature("devices: Ceph RBD", (), ("rbd",)),
)
MAIN = _FEATURES[0].what
"""What must be possible for growdisk to do its main job."""


def capabilities(backends: Mapping[str, bool]) -> Iterator[Capability]:
    """`backends`: which of direct, uml and guestfs work here.

    The appliance of guestfs brings tools of its own.
    """
    for feature in _FEATURES:
        by = next((name for name in feature.backends if backends.get(name)), "")
        missing = {PACKAGES.get(tool, tool) for tool in feature.tools if not is_here(tool)}
        missing |= {package for module, package in feature.modules if not _importable(module)}
        # The other two work with the tools of this machine.
        if missing and "guestfs" in feature.backends and backends.get("guestfs"):
            by, missing = "guestfs", set()
        # Some features need no backend (running guests, devices): then the packages alone decide.
        ok = not missing and (bool(by) or not feature.backends)
        reason = feature.why_not() if ok else ""
        ok = ok and not reason
        names = tuple(sorted(missing))
        fedora = tuple(_FEDORA.get(name, name) for name in names)
        yield Capability(feature.what, ok, by if ok else "", names, fedora, reason)


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # Of "qemu.qmp", find_spec imports the parent "qemu" first.
        return False

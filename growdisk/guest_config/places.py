"""Where a guest may name a partition: the one list, for guests powered off and running.

Patterns are those of a shell; a folder's name may be one as well. What boots is looked for below
each of BOOTS: /boot, the EFI system partition wherever it is mounted, and at the top of the file
system of either if no fstab names it. ostree keeps each deployment's /etc in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BOOTS = ("/boot", "/boot/efi", "/efi", "/boot/firmware")
SYSTEMS = ("", "/ostree/deploy/*/deploy/*")


def _below(tops: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    return tuple(f"{top}/{name}" for top in tops for name in names)


def _below_each(folders: Iterable[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{folder}{name}" for folder in folders for name in names)


_UNIT_FOLDERS = ("etc", "usr/local/lib", "usr/lib", "lib")
NAMES = {
    "fstabs": ("etc/fstab",),
    "crypttabs": ("etc/crypttab", "etc/crypttab.initramfs"),
    "units": tuple(
        f"{top}/systemd/system/*.{kind}" for top in _UNIT_FOLDERS for kind in ("swap", "mount")
    ),
    "wanters": tuple(
        f"{top}/systemd/system/{name}"
        for top in _UNIT_FOLDERS[:2]
        for name in ("*.*", "*.d/*.conf")
    ),
    "resume_files": (
        "etc/initramfs-tools/initramfs.conf",
        "etc/initramfs-tools/conf.d/*",
        "usr/share/initramfs-tools/conf.d/*",
    ),
    "dracut_files": (
        "etc/dracut.conf",
        "etc/dracut.conf.d/*.conf",
        "usr/lib/dracut/dracut.conf.d/*.conf",
    ),
}
"""Below each of SYSTEMS."""
# In the order of NAMES.
FSTABS, CRYPTTABS, UNITS, WANTERS, RESUME_FILES, DRACUT_FILES = (
    _below(SYSTEMS, names) for names in NAMES.values()
)

# All that is changed in a system but command lines and what wants units.
OF_SYSTEM = (*FSTABS, *CRYPTTABS, *UNITS, *RESUME_FILES, *DRACUT_FILES)

# What systemd-repart makes of the disk at each start.
DEFINITIONS = _below(SYSTEMS, [f"{top}/repart.d/*.conf" for top in _UNIT_FOLDERS])

# The kernel's command line, or parts of it, and what makes loader files: nothing else has resume=,
# wherever it lies.
SETTINGS = (
    "etc/default/*", "etc/default/*.d/*", "etc/sysconfig/*", "etc/conf.d/*", "etc/*.conf",
    "etc/*.d/*.conf", "etc/*.d/*.cfg", "etc/*/conf.d/*.conf", "etc/grub.d/*", "etc/kernel/*",
    "etc/kernel/*.d/*", "etc/cmdline", "etc/cmdline.d/*", "etc/systemd/*.conf",
    "etc/systemd/*.conf.d/*.conf", "etc/rc.local", "etc/tuned/*", "etc/kernelstub/configuration",
    "usr/lib/kernel/*", "usr/lib/bootc/kargs.d/*", "usr/share/u-boot-menu/conf.d/*",
    "extlinux.conf", "extlinux/*.conf", "syslinux.cfg", "syslinux/*.cfg",
)  # fmt: skip
_FOLDERS = ("", "*/", "*/*/", "*/*/*/")
LOADER_FILES = (
    *_below_each(_FOLDERS, ("*.cfg", "*.conf", "*.txt")),
    "boot.*",
    "*.nsh",
    "menu.lst",
    "grub/menu.lst",
)
GRUB_ENVIRONMENTS = ("grub/grubenv", "grub2/grubenv", "EFI/*/grubenv")
_NAMES_OF_INITRDS = ("*nitrd*", "*initramfs*", "booster*", "*.img")
INITRDS = _below_each(("", "*/", "*/*/", "EFI/*/*/"), _NAMES_OF_INITRDS)
# Files of loaders (LILO, zipl) that have a kernel and its initrd by their blocks.
BLOCK_LISTS = ("map", "bootmap", "zipl/bootmap")
UNIFIED_KERNELS = _below_each(_FOLDERS, ("*.efi",))
# Limine's own files have checksums of what it reads, its programs that of its settings.
LIMINE = _below_each(_FOLDERS, ("limine.conf", "limine.cfg"))
CHECKSUMS = (*LIMINE, *_below_each(_FOLDERS, ("*.efi", "limine-bios.sys")))

# What is searched for whatever else names what is gone: folders with all that is in them. What a
# system's owner writes is searched for the plan already, the rest at the end.
_OWN = ("etc", "usr/local/etc", "usr/local/lib/systemd", "usr/local/sbin", "usr/local/bin")
_SEARCHED_IN_SYSTEM = (
    *_OWN, "usr/lib/systemd", "lib/systemd", "usr/share/initramfs-tools",
    "usr/lib/dracut/dracut.conf.d", "usr/lib/kernel", "usr/lib/bootc", "usr/share/u-boot-menu",
    "extlinux", "syslinux",
)  # fmt: skip
SEARCHED_FIRST = _below(SYSTEMS, _OWN)
SEARCHED = (*_below(SYSTEMS, _SEARCHED_IN_SYSTEM), *BOOTS)
# The first two by name: they may be links, which grep follows on its command line alone.
SEARCHED_RUNNING = ("/etc/fstab", "/etc/crypttab", "/etc", "/usr/local", "/usr/lib/systemd", *BOOTS)


def command_lines(*, rooted: bool) -> tuple[str, ...]:
    """`rooted` False: of a /boot, or an EFI system partition, by itself."""
    loaders = of_boots((*LOADER_FILES, *GRUB_ENVIRONMENTS), rooted=rooted)
    return (*_below(SYSTEMS, SETTINGS), *loaders) if rooted else loaders


def of_boots(names: Sequence[str], *, rooted: bool) -> tuple[str, ...]:
    """`names` below /boot and the like; `rooted` as above."""
    return _below(BOOTS if rooted else (*BOOTS, ""), names)
